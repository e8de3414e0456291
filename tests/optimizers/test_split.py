"""An optimizer is split into a static part, which is compiled in, and hyperparams, as arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizer_cases import trajectory

from runner.errors import ConfigError
from runner.optimizers import split
from runner.registry import register_optimizer

SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
RMSPROP = {
    "decay": 0.9,
    "eps": 1e-8,
    "initial_scale": 0.0,
    "eps_in_sqrt": True,
    "centered": False,
    "momentum": None,
    "nesterov": False,
    "bias_correction": False,
}
MUON = {
    "momentum": 0.95,
    "nesterov": True,
    "ns_steps": 5,
    "preconditioning": "frobenius",
    "adaptive": False,
    "consistent_rms": None,
    "weight_decay": 0.0,
    "decay_all": False,
} | ADAM


def test_other_hyperparams_share_the_program_and_another_static_part_does_not():
    traced = []

    def step(optimizer, rate, hyperparams, params):
        traced.append(optimizer)
        tx = optimizer.build(rate, hyperparams)
        return tx.update(params, tx.init(params), params)[0]

    compiled = jax.jit(step, static_argnums=0)
    arguments = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.1}
    for momentum, weight_decay, rate in ((0.9, 0.1, 0.1), (0.8, 0.0, 0.2), (0.0, 1.0, 1e-9)):
        changed = arguments | {"momentum": momentum, "weight_decay": weight_decay}
        optimizer, hyperparams = split("sgd", changed)
        compiled(optimizer, jnp.float32(rate), hyperparams, jnp.ones(3))
    assert len(traced) == 1
    optimizer, hyperparams = split("sgd", arguments | {"nesterov": True})
    compiled(optimizer, jnp.float32(0.1), hyperparams, jnp.ones(3))
    assert len(traced) == 2


def test_hyperparams_are_float32_scalars_and_the_rest_is_static():
    optimizer, hyperparams = split("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": None})
    assert {key: (n.dtype, n.shape) for key, n in hyperparams.items()} == {
        "momentum": (np.float32, ())
    }
    assert optimizer.static == (("nesterov", True), ("weight_decay", None))
    assert hash(optimizer) == hash(split("sgd", SGD | {"nesterov": True, "momentum": 0.1})[0])


def test_lanes_equal_separate_runs():
    optimizer, _ = split("sgd", SGD)
    params, momenta = jnp.arange(3.0), jnp.array([0.1, 0.9])

    def two_updates(momentum):
        tx = optimizer.build(0.1, {"momentum": momentum})
        opt_state = tx.init(params)
        _, opt_state = tx.update(params, opt_state, params)
        return tx.update(params, opt_state, params)[0]

    lanes = jax.vmap(two_updates)(momenta)
    np.testing.assert_allclose(lanes, [-0.1 * (1 + m) * params for m in momenta], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("sgd", SGD, "momentum"),
        ("sgd", SGD | {"momentum": None}, None),
        ("adam", ADAM, "b1"),
        ("rmsprop", RMSPROP | {"momentum": 0.5}, "momentum"),
        ("rmsprop", RMSPROP, None),
        ("adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-7}, None),
        ("muon", MUON, "momentum"),
    ],
)
def test_the_hyperparam_that_a_schedules_momentum_replaces(name, arguments, key):
    assert split(name, arguments)[0].momentum_name == key


def test_without_momentum_or_decay_there_is_no_state():
    optimizer, hyperparams = split("sgd", SGD | {"momentum": None})
    assert jax.tree.leaves(optimizer.build(0.1, hyperparams).init(jnp.ones(3))) == []


def test_optaxs_own_optimizers_can_be_registered_directly():
    register_optimizer("test_lion")(optax.lion)
    optimizer, hyperparams = split("test_lion", {"b1": 0.9, "b2": 0.99})
    assert (sorted(hyperparams), optimizer.momentum_name) == (["b1", "b2"], "b1")
    passed = trajectory("test_lion", {"b1": 0.9, "b2": 0.99}, [0.1], [[3.0, -2.0]], [1.0, 1.0])
    # Lion moves by the sign alone; optax's weight decay of 0.001 joins it.
    np.testing.assert_allclose(passed, [[0.8999, 1.0999]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sdg", SGD, r"optimizer\.name: .*'sdg'; did you mean sgd"),
        ("sgd", SGD | {"b1": 0.9}, r"optimizer\.b1: there is no such setting"),
        ("adam", {"b1": 0.9, "b2": "???", "eps": 1e-8}, r"optimizer\.b2: has no value"),
        ("sgd", SGD | {"nesterov": True, "momentum": None}, r"optimizer\.nesterov: "),
        ("rmsprop", RMSPROP | {"nesterov": True}, r"optimizer\.nesterov: "),
        ("sgd", SGD | {"momentum": float("nan")}, r"optimizer\.momentum: nan"),
        ("sgd", SGD | {"weight_decay": 1e39}, r"optimizer\.weight_decay: 1e\+39"),
        ("sgd", SGD | {"nesterov": {"a": 1}}, r"optimizer\.nesterov: \{'a': 1\}"),
    ],
)
def test_errors_are_raised_before_anything_is_traced(name, arguments, said):
    with pytest.raises(ConfigError, match=said):
        split(name, arguments)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1e39, r"^optimizer\.free: 1e\+39 is not a finite float32 number"),
        (float("inf"), r"^optimizer\.free: inf is not a finite float32 number"),
        ({"a": 1}, r"^optimizer\.free: \{'a': 1\} cannot be part of a compiled program"),
    ],
)
def test_a_plugins_argument_without_annotation_is_checked_too(value, said):
    register_optimizer("test_free")(lambda learning_rate, *, free: optax.sgd(learning_rate))
    with pytest.raises(ConfigError, match=said):
        split("test_free", {"free": value})


def test_a_list_among_a_plugins_arguments_is_a_static_tuple():
    register_optimizer("test_listed")(lambda learning_rate, *, free: optax.sgd(learning_rate))
    assert split("test_listed", {"free": ["a", 2]})[0].static == (("free", ("a", 2)),)


def test_the_order_of_arguments_does_not_make_another_program():
    arguments = {"momentum": 0.9, "nesterov": True, "weight_decay": None}
    one, other = split("sgd", arguments)[0], split("sgd", dict(reversed(arguments.items())))[0]
    assert one == other
    assert hash(one) == hash(other)
