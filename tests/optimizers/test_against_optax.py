"""Every optimizer is optax's: a hundred updates equal, bit for bit, those of optax by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from runner.optimizers import split
from runner.registry import optimizers

STEPS = 100
INPUTS = np.random.default_rng(1).normal(size=(STEPS, 4, 2, 2, 2)).astype(np.float32)
ADAM = {"b1": 0.85, "b2": 0.95, "eps": 1e-6}
DECAYED = {"weight_decay": 0.02, "decay_all": False}

Numbers = dict[str, Any]
ByHand = Callable[..., optax.GradientTransformation]


def matrices(params: Any) -> Any:
    return {name: param.ndim > 1 for name, param in params.items()}


MUONS_AXES = {
    "kernel": contrib.MuonDimensionNumbers((0, 1, 2), 3),
    "matrix": contrib.MuonDimensionNumbers(0, 1),
    "scale": None,
    "bias": None,
}


def sgd_by_hand(lr: Any, momentum: Any, weight_decay: Any) -> optax.GradientTransformation:
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(decay, optax.sgd(lr, momentum=momentum, nesterov=True))


RMSPROP = {
    "decay": 0.8,
    "eps": 1e-5,
    "initial_scale": 0.5,
    "eps_in_sqrt": False,
    "centered": False,
    "momentum": None,
    "nesterov": False,
    "bias_correction": False,
}
ADAFACTOR = {
    "min_dim_size_to_factor": 4,
    "decay_rate": 0.7,
    "multiply_by_parameter_scale": True,
    "clipping_threshold": 0.9,
    "momentum": 0.8,
    "eps": 1e-20,
    "factored": True,
} | DECAYED
LARS = {"momentum": 0.8, "nesterov": True, "trust_coefficient": 0.1, "eps": 1e-4} | DECAYED
MUON = {
    "momentum": 0.9,
    "nesterov": True,
    "ns_steps": 4,
    "preconditioning": "frobenius",
    "adaptive": False,
    "consistent_rms": None,
} | (ADAM | DECAYED)

# name, its arguments, optax's own as a function of the rate and of the numbers among them.
CASES: list[tuple[str, dict[str, Any], ByHand]] = [
    ("sgd", {"momentum": None, "nesterov": False, "weight_decay": None}, optax.sgd),
    ("sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.02}, sgd_by_hand),
    ("adam", ADAM, optax.adam),
    ("adamw", ADAM | DECAYED, lambda lr, **n: optax.adamw(lr, **n, mask=matrices)),
    ("adamw", ADAM | DECAYED | {"decay_all": True}, optax.adamw),
    ("nadam", ADAM, optax.nadam),
    ("nadamw", ADAM | DECAYED, lambda lr, **n: optax.nadamw(lr, **n, mask=matrices)),
    ("nadamw", ADAM | DECAYED | {"decay_all": True}, optax.nadamw),
    ("amsgrad", ADAM, optax.amsgrad),
    ("adamax", ADAM, optax.adamax),
    ("radam", ADAM | {"threshold": 5.0, "nesterov": False}, optax.radam),
    (
        "radam",
        ADAM | {"threshold": 6.0, "nesterov": True},
        lambda lr, **n: optax.radam(lr, **n, nesterov=True),
    ),
    ("adabelief", ADAM | {"eps_root": 1e-7, "nesterov": False}, optax.adabelief),
    (
        "adabelief",
        ADAM | {"eps_root": 1e-7, "nesterov": True},
        lambda lr, **n: optax.adabelief(lr, **n, nesterov=True),
    ),
    ("yogi", ADAM, optax.yogi),
    ("rmsprop", RMSPROP, lambda lr, **n: optax.rmsprop(lr, **n, eps_in_sqrt=False)),
    (
        "rmsprop",
        RMSPROP | {"momentum": 0.8, "nesterov": True, "eps_in_sqrt": True, "bias_correction": True},
        lambda lr, **n: optax.rmsprop(lr, **n, nesterov=True, bias_correction=True),
    ),
    (
        "rmsprop",
        RMSPROP | {"momentum": 0.8, "centered": True, "eps_in_sqrt": True},
        lambda lr, **n: optax.rmsprop(lr, **n, centered=True),
    ),
    ("adagrad", {"initial_accumulator_value": 0.2, "eps": 1e-5}, optax.adagrad),
    ("adadelta", {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.02}, optax.adadelta),
    (
        "adafactor",
        ADAFACTOR,
        lambda lr, weight_decay, **n: optax.adafactor(
            lr, 4, weight_decay_rate=weight_decay, weight_decay_mask=matrices, **n
        ),
    ),
    (
        "adafactor",
        ADAFACTOR
        | {"clipping_threshold": None, "momentum": None, "factored": False, "decay_all": True}
        | {"multiply_by_parameter_scale": False},
        lambda lr, weight_decay, **n: optax.adafactor(
            lr,
            weight_decay_rate=weight_decay,
            clipping_threshold=None,
            factored=False,
            multiply_by_parameter_scale=False,
            **n,
        ),
    ),
    (
        "lion",
        {"b1": 0.85, "b2": 0.95} | DECAYED,
        lambda lr, **n: optax.lion(lr, **n, mask=matrices),
    ),
    ("lion", {"b1": 0.85, "b2": 0.95} | DECAYED | {"decay_all": True}, optax.lion),
    (
        "lamb",
        ADAM | {"eps_root": 1e-7} | DECAYED,
        lambda lr, **n: optax.lamb(lr, **n, mask=matrices),
    ),
    ("lamb", ADAM | {"eps_root": 1e-7} | DECAYED | {"decay_all": True}, optax.lamb),
    (
        "lars",
        LARS | {"adapt_all": False},
        lambda lr, **n: optax.lars(
            lr, **n, nesterov=True, weight_decay_mask=matrices, trust_ratio_mask=matrices
        ),
    ),
    (
        "lars",
        LARS | {"adapt_all": True, "decay_all": True, "nesterov": False},
        optax.lars,
    ),
    ("novograd", ADAM | {"eps_root": 1e-7, "weight_decay": 0.02}, optax.novograd),
    (
        "muon",
        MUON,
        lambda lr, momentum, b1, b2, **n: contrib.muon(
            lr,
            beta=momentum,
            ns_steps=4,
            adam_b1=b1,
            adam_b2=b2,
            muon_weight_dimension_numbers=MUONS_AXES,
            **n,
        ),
    ),
    (
        "muon",
        MUON
        | {"preconditioning": "aol", "adaptive": True, "nesterov": False}
        | {"consistent_rms": 0.2, "decay_all": True},
        lambda lr, momentum, b1, b2, **n: contrib.muon(
            lr,
            beta=momentum,
            ns_steps=4,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=n["weight_decay"],
            muon_weight_dimension_numbers=MUONS_AXES,
            preconditioning="aol",
            adaptive=True,
            nesterov=False,
            **n,
        ),
    ),
]


def loss(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """Of a small net: convolution at one place, scale, matrix, bias; inputs [4, 2, 2, 2]."""
    hidden = jnp.tanh(jnp.tensordot(inputs, params["kernel"], 3) * params["scale"])
    return jnp.mean((hidden @ params["matrix"] + params["bias"] - 0.3) ** 2)


def a_hundred_updates(build: Any, numbers: Numbers, rates: jax.Array, params: Any) -> Any:
    """Params after every update, [STEPS, ...]; one update has one rate and one input."""
    inputs = jnp.asarray(INPUTS)

    def step(carry: Any, now: Any) -> Any:
        params, state = carry
        rate, inputs = now
        grads = jax.grad(loss)(params, inputs)
        updates, state = build(rate, numbers).update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = (params, build(rates[0], numbers).init(params))
    return jax.lax.scan(step, start, (rates, inputs))[1]


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = {"kernel": (2, 2, 2, 6), "matrix": (6, 5), "scale": (6,), "bias": (5,)}
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    rates = 0.001 + 0.02 * random.random(STEPS)
    return rates.astype(np.float32), {k: p.astype(np.float32) for k, p in params.items()}


@pytest.mark.parametrize(
    ("name", "arguments", "by_hand"),
    CASES,
    ids=[f"{name}-{place}" for place, (name, _, _) in enumerate(CASES)],
)
def test_a_hundred_updates_equal_optax_by_hand_in_one_program_for_all_numbers(
    name: str, arguments: dict[str, Any], by_hand: ByHand, problem: Any
) -> None:
    rates, start = problem
    traced = []

    def run(optimizer: Any, numbers: Numbers, rates: jax.Array, params: Any) -> Any:
        traced.append(optimizer)
        return a_hundred_updates(optimizer.build, numbers, rates, params)

    ours = jax.jit(run, static_argnums=0)
    theirs = jax.jit(lambda n, *rest: a_hundred_updates(lambda lr, n: by_hand(lr, **n), n, *rest))
    for factor in (1.0, 0.9):
        changed = {k: v if k == "threshold" else scaled(v, factor) for k, v in arguments.items()}
        optimizer, numbers = split(name, changed)
        assert set(numbers) == {k for k, v in arguments.items() if isinstance(v, float)}
        passed = ours(optimizer, numbers, rates * factor, start)
        given = {k: np.float32(v) for k, v in changed.items() if isinstance(v, float)}
        expected = theirs(given, rates * factor, start)
        for key in start:
            assert np.isfinite(passed[key]).all()
            assert not np.array_equal(passed[key][0], passed[key][-1])
            np.testing.assert_array_equal(passed[key], expected[key])
    assert len(traced) == 1


def scaled(value: Any, factor: float) -> Any:
    return value * factor if isinstance(value, float) else value


def test_every_optimizer_is_compared() -> None:
    assert {name for name, _, _ in CASES} == set(optimizers.names())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("adamw", ADAM | DECAYED),
        ("nadamw", ADAM | DECAYED),
        ("lion", {"b1": 0.85, "b2": 0.95} | DECAYED),
        ("lamb", ADAM | {"eps_root": 0.0} | DECAYED),
        ("lars", LARS | {"adapt_all": True}),
        ("adafactor", ADAFACTOR),
        ("muon", MUON),
    ],
)
@pytest.mark.parametrize("decay_all", [False, True])
def test_biases_and_scales_of_norms_decay_only_where_all_do(
    name: str, arguments: dict[str, Any], decay_all: bool
) -> None:
    """Without gradients nothing but the decay moves a parameter."""
    params = {"kernel": jnp.ones((2, 2, 2, 3)), "matrix": jnp.ones((5, 4)), "bias": jnp.ones(4)}
    optimizer, numbers = split(name, arguments | {"decay_all": decay_all})
    tx = optimizer.build(0.1, numbers)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(grads, tx.init(params), params)
    moved = {key: bool((update != 0).all()) for key, update in updates.items()}
    assert moved == {"kernel": True, "matrix": True, "bias": decay_all}
