"""The rate decays from layer to layer, for any optimizer, with groups, multiplier and averages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizer_cases import all_cases
from sampling import slow_except

from runner.cli import main
from runner.errors import ConfigError
from runner.optimizers import (
    Groups,
    Wrappers,
    assign,
    eval_params,
    layer_depths,
    split,
    transformation,
)
from runner.registry import models

SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAMW = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.5, "decay_all": True}
RANDOM = np.random.default_rng(0)
# From input to output: kernel, then matrix and scale, then bias.
SHAPES = {"bias": (6,), "kernel": (2, 2, 2, 8), "matrix": (8, 6), "scale": (6,)}
LAYERS = ["kernel", ("matrix", "scale"), "bias"]
DEPTHS = {"kernel": 2, "matrix": 1, "scale": 1, "bias": 0}
PARAMS = {k: jnp.asarray(RANDOM.normal(size=s), jnp.float32) for k, s in SHAPES.items()}
GRADS = [
    {k: jnp.asarray(RANDOM.normal(size=s), jnp.float32) for k, s in SHAPES.items()}
    for _ in range(3)
]
GROUPS = Groups(depths=layer_depths(LAYERS, PARAMS))


def composed(name, arguments, *, layer_decay, groups=GROUPS, rates=(0.1,), multiplier=1.0):
    optimizer, hyperparams = split(name, arguments)
    wrappers = Wrappers.of(layer_decay=layer_decay, multiplier=multiplier)
    rates = [jnp.float32(rate) for rate in rates]
    return transformation(optimizer, hyperparams, groups=groups, wrappers=wrappers, rates=rates)


def trained(tx, params, all_grads):
    state = tx.init(params)
    for grads in all_grads:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_the_rate_of_each_layer_is_a_power_of_the_decay_by_hand():
    after = trained(composed("sgd", SGD, layer_decay=0.5), PARAMS, GRADS[:1])
    for key, rate in {"bias": 0.1, "matrix": 0.05, "scale": 0.05, "kernel": 0.025}.items():
        np.testing.assert_allclose(after[key], PARAMS[key] - rate * GRADS[0][key], rtol=1e-6)


def test_a_decoupled_weight_decay_shrinks_with_the_rate():
    """Without gradients only the decay changes a parameter: by rate * 0.5 of it."""
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    after = trained(composed("adamw", ADAMW, layer_decay=0.5), PARAMS, [zeros])
    for key, rate in {"bias": 0.1, "matrix": 0.05, "scale": 0.05, "kernel": 0.025}.items():
        np.testing.assert_allclose(after[key], PARAMS[key] * (1 - rate * 0.5), rtol=1e-6)


def test_layer_decay_multiplies_the_rates_of_groups():
    depths = layer_depths(LAYERS, PARAMS)
    groups = assign(
        PARAMS, {"flat": ("scale", "bias"), "still": ("matrix",)}, frozen=("still",), depths=depths
    )
    start = groups.trained(PARAMS)
    tx = composed("sgd", SGD, layer_decay=0.5, groups=groups, rates=(0.4, 9.0, 0.1))
    after = trained(tx, start, [groups.trained(GRADS[0])])
    assert after["matrix"] is None
    for key, rate in {"bias": 0.4, "scale": 0.2, "kernel": 0.025}.items():
        np.testing.assert_allclose(after[key], PARAMS[key] - rate * GRADS[0][key], rtol=1e-6)


CASES = all_cases()
# One of each family.
FAMILIES = ["sgd", "adam", "adafactor", "lamb", "muon", "prodigy", "schedule_free_adamw"]
SAMPLE = [next(case for case in CASES if case.name == name) for name in FAMILIES]


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_except(SAMPLE, CASES), ids=[case.name for case in CASES])
def test_each_layer_is_updated_as_if_there_were_no_others(case):
    """optax's own optimizer at the layer's rate; bit for bit, without compilation."""
    name, arguments, by_hand, _ = case
    after = trained(composed(name, arguments, layer_decay=0.5, rates=(0.01,)), PARAMS, GRADS)
    hyperparams = split(name, arguments)[1]
    for depth in range(3):
        keys = [key for key in PARAMS if DEPTHS[key] == depth]
        expected = trained(
            by_hand(jnp.float32(0.01) * 0.5**depth, **hyperparams),
            {key: PARAMS[key] for key in keys},
            [{key: grads[key] for key in keys} for grads in GRADS],
        )
        for key in keys:
            np.testing.assert_array_equal(after[key], expected[key], err_msg=key)


def test_another_decay_shares_the_program():
    optimizer, hyperparams = split("sgd", SGD)
    traced = []

    @jax.jit
    def update(wrappers):
        traced.append(wrappers)
        tx = transformation(
            optimizer, hyperparams, groups=GROUPS, wrappers=wrappers, rates=[jnp.float32(0.1)]
        )
        return tx.update(GRADS[0], tx.init(PARAMS), PARAMS)[0]

    for decay in (0.5, 0.9, 1.0):
        updates = update(Wrappers.of(layer_decay=decay))
        expected = -0.1 * decay**2 * GRADS[0]["kernel"]
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-6)
    assert len(traced) == 1


def test_schedule_free_averages_are_found_in_every_layer():
    """At a constant rate x is the mean of all z, which move at the rate of their layer."""
    arguments = {"b1": 0.5, "weight_decay": None, "weight_lr_power": 2.0}
    optimizer, _ = split("schedule_free_sgd", arguments)
    tx = composed("schedule_free_sgd", arguments, layer_decay=0.5)
    params, state = PARAMS, tx.init(PARAMS)
    for grads in GRADS:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    evaluated = eval_params(optimizer, GROUPS, state, params)
    for key, depth in DEPTHS.items():
        steps = np.cumsum([0.1 * 0.5**depth * grads[key] for grads in GRADS], axis=0)
        expected = PARAMS[key] - steps.mean(axis=0)
        np.testing.assert_allclose(evaluated[key], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (None, "layer_decay: the model does not declare the order of its layers; .* layer_order"),
        (["kernel", "matrx"], "layer_decay: .* 'matrx', which matches no parameter"),
        (["ker", "matrix"], "layer_decay: .* 'ker', which matches no parameter"),
        (["kernel", "matrix", "bias"], "layer_decay: .* leaves out the parameter scale"),
    ],
)
def test_an_order_that_does_not_fit_the_parameters_is_refused(layers, said):
    with pytest.raises(ConfigError, match=said):
        layer_depths(layers, PARAMS)


def test_layer_decay_needs_groups_with_layer_depths():
    with pytest.raises(ConfigError, match="layer_decay: the groups have no layer depths"):
        composed("sgd", SGD, layer_decay=0.5, groups=Groups())


@pytest.mark.parametrize("name", models.names())
def test_every_model_declares_the_order_of_its_layers(name):
    module = models.build(name, {"num_outputs": 3})
    inputs = jnp.zeros((1, 8), int) if name == "transformer" else jnp.zeros((1, 8, 8, 1))
    variables = jax.eval_shape(lambda key: module.init(key, inputs, train=False), jax.random.key(0))
    depths = dict(layer_depths(module.layer_order, variables["params"]))
    assert set(depths.values()) == set(range(len(module.layer_order)))
    # The logits come from the last layer.
    shapes = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    assert any(shapes[path] == (3,) for path, depth in depths.items() if depth == 0)


@pytest.mark.parametrize("value", ["0", "1.1"])
def test_a_decay_outside_its_bounds_is_refused(value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([f"optimizer.layer_decay={value}"]) == 2
    assert capsys.readouterr().err.startswith("error: optimizer.layer_decay: ")


def test_a_parameter_is_in_the_first_layer_with_a_prefix_of_its_path():
    params = {"block": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}, "head": np.ones(2)}
    depths = layer_depths(["block/kernel", "block", "head"], params)
    assert dict(depths) == {"block/kernel": 2, "block/bias": 1, "head": 0}
