"""Every optimizer is optax's: a hundred updates equal those of optax bit for bit."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from optimizer_cases import Case, all_cases
from sampling import slow_except

from runner.optimizers import split
from runner.registry import optimizers

STEPS = 100
INPUTS = np.random.default_rng(1).normal(size=(STEPS, 4, 2, 2, 2)).astype(np.float32)
CASES = all_cases()
NUMBERED = [f"{case.name}-{i}" for i, case in enumerate(CASES)]
# The first case of each optimizer.
FIRST = {case.name: number for case, number in reversed([*zip(CASES, NUMBERED, strict=True)])}
# ``test_groups`` compares three updates of all.
SAMPLE = [FIRST[name] for name in ("sgd", "adam")]

Hyperparams = dict[str, Any]


def loss(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """The loss of a small network: convolution, scale, matrix, bias; inputs [4, 2, 2, 2]."""
    hidden = jnp.tanh(jnp.tensordot(inputs, params["kernel"], 3) * params["scale"])
    return jnp.mean((hidden @ params["matrix"] + params["bias"] - 0.3) ** 2)


def a_hundred_updates(build: Any, hyperparams: Hyperparams, rates: jax.Array, params: Any) -> Any:
    """Params after every update, [STEPS, ...]; one update has one rate and one input."""
    inputs = jnp.asarray(INPUTS)

    def step(carry: Any, now: Any) -> Any:
        params, state = carry
        rate, inputs = now
        grads = jax.grad(loss)(params, inputs)
        updates, state = build(rate, hyperparams).update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = (params, build(rates[0], hyperparams).init(params))
    return jax.lax.scan(step, start, (rates, inputs))[1]


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = {"kernel": (2, 2, 2, 6), "matrix": (6, 5), "scale": (6,), "bias": (5,)}
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    rates = 0.001 + 0.02 * random.random(STEPS)
    return rates.astype(np.float32), {k: p.astype(np.float32) for k, p in params.items()}


@pytest.mark.parametrize("number", slow_except(SAMPLE, NUMBERED))
def test_a_hundred_updates_equal_optax_in_one_program_for_all_hyperparams(
    number: str, problem: Any
) -> None:
    name, arguments, by_hand, constant = CASES[NUMBERED.index(number)]
    rates, start = problem
    traced = []

    def run(optimizer: Any, hyperparams: Hyperparams, rates: jax.Array, params: Any) -> Any:
        traced.append(optimizer)
        return a_hundred_updates(optimizer.build, hyperparams, rates, params)

    def run_optax(hyperparams: Hyperparams, rates: jax.Array, params: Any) -> Any:
        return a_hundred_updates(lambda lr, n: by_hand(lr, **n), hyperparams, rates, params)

    # Of one name, so that programs that are the same have one entry in the compilation cache.
    run_optax.__name__ = run.__name__
    ours = jax.jit(run, static_argnums=0)
    theirs = jax.jit(run_optax)
    for factor in (1.0, 0.9):
        changed = {k: v if k in constant else scaled(v, factor) for k, v in arguments.items()}
        optimizer, hyperparams = split(name, changed)
        assert set(hyperparams) == {k for k, v in arguments.items() if isinstance(v, float)}
        passed = ours(optimizer, hyperparams, rates * factor, start)
        given = {k: np.float32(v) for k, v in changed.items() if isinstance(v, float)}
        expected = theirs(given, rates * factor, start)
        for key in start:
            assert np.isfinite(passed[key]).all()
            assert not np.array_equal(passed[key][0], passed[key][-1])
            np.testing.assert_array_equal(passed[key], expected[key])
    assert len(traced) == 1


@pytest.mark.slow
def test_adam_is_nearer_to_float64_than_optax_given_python_floats(problem: Any) -> None:
    arguments = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
    optimizer, hyperparams = split("adam", arguments)
    ours = jax.jit(lambda h, *run: a_hundred_updates(optimizer.build, h, *run))
    theirs = jax.jit(
        lambda *run: a_hundred_updates(lambda rate, _: optax.adam(rate, **arguments), {}, *run)
    )
    exact = adam_in_float64(*problem, **arguments)

    passed, expected = ours(hyperparams, *problem), theirs(*problem)

    # Python computes 1 - 0.999 in float64, which does not match 0.999 rounded to float32.
    assert 1e-6 < farthest(passed, expected) < 1e-5
    assert farthest(passed, exact) < farthest(expected, exact) / 2


def adam_in_float64(rates: Any, start: Any, *, b1: float, b2: float, eps: float) -> Any:
    """Params after each of the updates of ``a_hundred_updates``, [STEPS, ...], by NumPy.

    Source: Kingma and Ba 2015, algorithm 1.
    """
    params = {key: value.astype(np.float64) for key, value in start.items()}
    m, v = dict.fromkeys(params, 0.0), dict.fromkeys(params, 0.0)
    passed = []
    for t, (rate, inputs) in enumerate(zip(rates.astype(np.float64), INPUTS, strict=True), 1):
        for key, grad in gradients_in_float64(params, inputs.astype(np.float64)).items():
            m[key] = b1 * m[key] + (1 - b1) * grad
            v[key] = b2 * v[key] + (1 - b2) * grad**2
            mean, square = m[key] / (1 - b1**t), v[key] / (1 - b2**t)
            params[key] = params[key] - rate * mean / (np.sqrt(square) + eps)
        passed.append(dict(params))
    return {key: np.stack([each[key] for each in passed]) for key in params}


def gradients_in_float64(params: Any, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients of ``loss`` by the chain rule."""
    convolved = np.tensordot(inputs, params["kernel"], 3)
    hidden = np.tanh(convolved * params["scale"])
    errors = hidden @ params["matrix"] + params["bias"] - 0.3
    errors *= 2 / errors.size
    inner = errors @ params["matrix"].T * (1 - hidden**2)
    return {
        "kernel": np.tensordot(inputs, inner * params["scale"], (0, 0)),
        "matrix": hidden.T @ errors,
        "scale": (inner * convolved).sum(0),
        "bias": errors.sum(0),
    }


def farthest(some: Any, others: Any) -> float:
    """The largest absolute difference."""
    return max(float(np.abs(np.asarray(some[key], np.float64) - others[key]).max()) for key in some)


def scaled(value: Any, factor: float) -> Any:
    return value * factor if isinstance(value, float) else value


@pytest.mark.parametrize("number", NUMBERED)
def test_every_setting_reaches_optax(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call of optax's factory is the one by hand; nothing is computed."""
    name, arguments, by_hand, _ = CASES[NUMBERED.index(number)]
    calls: list[dict[str, Any]] = []
    home = optax if hasattr(optax, name) else contrib
    theirs = getattr(home, name)
    parameters = inspect.signature(theirs)

    def record(*args: Any, **kwargs: Any) -> optax.GradientTransformation:
        bound = parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append({key: "mask" if callable(v) else v for key, v in bound.arguments.items()})
        return optax.identity()

    optimizer, hyperparams = split(name, arguments)
    monkeypatch.setattr(home, name, record)
    optimizer.build(0.5, hyperparams)
    (record if by_hand is theirs else by_hand)(0.5, **hyperparams)
    ours, expected = calls
    assert ours == expected


def test_every_optimizer_is_compared() -> None:
    assert {case.name for case in CASES} == {*optimizers.names()} - {*optimizers.plugins()}


SPARING = [case for case in CASES if "decay_all" in case.arguments]


@pytest.mark.parametrize(
    "case",
    slow_except([case for case in SPARING if case.name in ("adamw", "lamb")], SPARING),
    ids=[f"{c.name}-{i}" for i, c in enumerate(SPARING)],
)
@pytest.mark.parametrize("decay_all", [False, True])
def test_biases_and_scales_of_norms_decay_only_with_decay_all(case: Case, decay_all: bool) -> None:
    """Without gradients only the decay changes a parameter."""
    params = {"kernel": jnp.ones((2, 2, 2, 3)), "matrix": jnp.ones((5, 4)), "bias": jnp.ones(4)}
    optimizer, hyperparams = split(case.name, case.arguments | {"decay_all": decay_all})
    tx = optimizer.build(0.1, hyperparams)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(grads, tx.init(params), params)
    moved = {key: bool((update != 0).all()) for key, update in updates.items()}
    assert moved == {"kernel": True, "matrix": True, "bias": decay_all}


# Our name → optax's, where they differ.
RENAMED = {
    "signum": {"momentum": "beta"},
    "muon": {"momentum": "beta", "b1": "adam_b1", "b2": "adam_b2"},
}
# No decay: optax's sgd has no such argument, and its adafactor writes None.
WITHOUT_DECAY = {"sgd": {"weight_decay": None}, "adafactor": {"weight_decay": 0.0}}


@pytest.mark.parametrize("name", sorted({*optimizers.names()} - {*optimizers.plugins()}))
def test_the_defaults_are_those_of_optax(name: str) -> None:
    """Without masks, optax decays and adapts all parameters; only muon leaves vectors out."""
    theirs = defaults(getattr(optax, name, None) or getattr(contrib, name))
    theirs |= dict(zip(("b1", "b2"), theirs.get("betas", ()), strict=False))
    theirs |= {"decay_all": name != "muon", "adapt_all": True} | WITHOUT_DECAY.get(name, {})
    renamed = RENAMED.get(name, {})
    ours = defaults(optimizers.get(name))
    assert ours == {key: theirs[renamed.get(key, key)] for key in ours}


def defaults(factory: Any) -> dict[str, Any]:
    given = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}
