"""Optimizers against PyTorch's in float64, as far as the two define the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from runner.optimizers import split

pytestmark = pytest.mark.oracle

STEPS = 60
ADAM = {"b1": 0.8, "b2": 0.9, "eps": 1e-8}
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
RMSPROP = {
    "decay": 0.9,
    "eps": 1e-8,
    "initial_scale": 0.0,
    "eps_in_sqrt": False,
    "centered": False,
    "momentum": None,
    "nesterov": False,
    "bias_correction": False,
}
RADAM = ADAM | {"threshold": 5.0, "nesterov": False}
DECAYED = {"weight_decay": 0.1, "decay_all": True}
BETAS = {"betas": (0.8, 0.9), "eps": 1e-8}
# PyTorch's NAdam warms up its momentum to b1 * (1 - 0.96 ** (step * momentum_decay) / 2); optax's
# is b1 from the start. They are equal if the warm-up is over at once.
CONSTANT = {"momentum_decay": 1e6}
ADAGRAD = {"initial_accumulator_value": 0.1, "eps": 1e-12}
ADADELTA = {"rho": 0.8, "eps": 1e-6, "weight_decay": 0.0}
ADADELTA_DECAYED = ADADELTA | {"weight_decay": 0.1}


def passed(name: str, arguments: Any, rates: Any, grads: Any, start: Any) -> np.ndarray:
    """Params after each update, float32 [steps, size]."""
    optimizer, hyperparams = split(name, arguments)

    def step(carry: Any, now: Any) -> Any:
        params, state = carry
        rate, grad = now
        updates, state = optimizer.build(rate, hyperparams).update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    state = optimizer.build(0.0, hyperparams).init(jnp.asarray(start))
    run = jax.jit(lambda carry, now: jax.lax.scan(step, carry, now)[1])
    return np.asarray(run((start, state), (rates, grads)))


def theirs(name: str, arguments: Any, rates: Any, grads: Any, start: Any) -> np.ndarray:
    """The same by ``torch.optim.<name>`` in float64."""
    torch = pytest.importorskip("torch")
    param = torch.tensor(start.astype(np.float64), requires_grad=True)
    optimizer = getattr(torch.optim, name)([param], lr=1.0, **arguments)
    states = []
    for rate, grad in zip(rates, grads, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        param.grad = torch.tensor(grad.astype(np.float64))
        optimizer.step()
        states.append(param.detach().numpy().copy())
    return np.stack(states)


def a_problem(*, constant: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    grads = random.normal(size=(STEPS, 7)).astype(np.float32)
    rates = (0.01 + 0.1 * random.random(STEPS)).astype(np.float32)
    start = random.normal(size=7).astype(np.float32)
    return np.full_like(rates, 0.05) if constant else rates, grads, start


@pytest.mark.parametrize(
    ("name", "arguments", "torchs", "given"),
    [
        ("sgd", SGD, "SGD", {"momentum": 0.9}),
        ("sgd", SGD | {"momentum": None}, "SGD", {}),
        ("sgd", SGD | {"momentum": 0.0}, "SGD", {"momentum": 0.0}),
        ("sgd", SGD | {"nesterov": True}, "SGD", {"momentum": 0.9, "nesterov": True}),
        ("sgd", SGD | {"weight_decay": 0.1}, "SGD", {"momentum": 0.9, "weight_decay": 0.1}),
        (
            "sgd",
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
            "SGD",
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
        ),
        ("adam", ADAM, "Adam", BETAS),
        ("adam", ADAM | {"eps": 1e-3}, "Adam", BETAS | {"eps": 1e-3}),
        ("adamw", ADAM | DECAYED, "AdamW", BETAS | {"weight_decay": 0.1}),
        ("nadam", ADAM, "NAdam", BETAS | CONSTANT),
        (
            "nadamw",
            ADAM | DECAYED,
            "NAdam",
            BETAS | CONSTANT | {"weight_decay": 0.1, "decoupled_weight_decay": True},
        ),
        ("adamax", ADAM, "Adamax", BETAS),
        ("radam", RADAM, "RAdam", BETAS),
        ("rmsprop", RMSPROP, "RMSprop", {"alpha": 0.9}),
        ("rmsprop", RMSPROP | {"centered": True}, "RMSprop", {"alpha": 0.9, "centered": True}),
        ("adagrad", ADAGRAD, "Adagrad", ADAGRAD),
        ("adadelta", ADADELTA, "Adadelta", ADADELTA),
        ("adadelta", ADADELTA_DECAYED, "Adadelta", ADADELTA_DECAYED),
    ],
)
def test_updates_are_pytorchs(name: str, arguments: Any, torchs: str, given: Any) -> None:
    problem = a_problem()
    expected = theirs(torchs, given, *problem)
    np.testing.assert_allclose(passed(name, arguments, *problem), expected, rtol=2e-5, atol=2e-6)


def test_rmsprops_velocity_is_pytorchs_while_the_rate_stays() -> None:
    """Ours accumulates updates multiplied by their rates, so that old rates have an effect."""
    ours, given = RMSPROP | {"momentum": 0.8}, {"alpha": 0.9, "momentum": 0.8}
    problem = a_problem(constant=True)
    expected = theirs("RMSprop", given, *problem)
    np.testing.assert_allclose(passed("rmsprop", ours, *problem), expected, rtol=2e-5, atol=2e-6)
    problem = a_problem()
    apart = passed("rmsprop", ours, *problem) - theirs("RMSprop", given, *problem)
    assert np.abs(apart).max() > 0.01


def test_nadams_momentum_departs_from_pytorchs_warm_up() -> None:
    """PyTorch's starts at half of b1 and reaches it over thousands of steps; ours is b1."""
    problem = a_problem()
    assert np.abs(passed("nadam", ADAM, *problem) - theirs("NAdam", BETAS, *problem)).max() > 0.01


def test_adagrads_eps_departs_from_pytorchs() -> None:
    """It is added inside the root, as optax does; PyTorch adds it to the root.

    By hand, at the first update of a gradient of 1: 1 / sqrt(1 + 3) against 1 / (sqrt(1) + 3).
    """
    arguments = {"initial_accumulator_value": 0.0, "eps": 3.0}
    one = np.ones(1, np.float32)
    problem = one, one[None], 0 * one
    np.testing.assert_allclose(passed("adagrad", arguments, *problem), [[-0.5]], rtol=1e-6)
    np.testing.assert_allclose(theirs("Adagrad", arguments, *problem), [[-0.25]], rtol=1e-6)


def test_amsgrads_maximum_departs_from_pytorchs() -> None:
    """It is taken of the corrected second moments, as optax does; PyTorch corrects the maximum.

    By hand, b1 = 0, b2 = 0.5, gradients 2 and 0: moments 2 and 1, corrected 4 and 4/3; with a
    third gradient of 1 the moment is 1, corrected 8/7: ours divides by sqrt(4), theirs by
    sqrt(2 / (1 - 1/8)).
    """
    arguments = {"b1": 0.0, "b2": 0.5, "eps": 1e-12}
    grads = np.array([[2.0], [0.0], [1.0]], np.float32)
    problem = np.ones(3, np.float32), grads, np.zeros(1, np.float32)
    ours = np.diff(passed("amsgrad", arguments, *problem).ravel())[-1]
    given = {"betas": (0.0, 0.5), "eps": 1e-12, "amsgrad": True}
    np.testing.assert_allclose(ours, -1 / 2, rtol=1e-6)
    others = np.diff(theirs("Adam", given, *problem).ravel())[-1]
    np.testing.assert_allclose(others, -1 / np.sqrt(2 / (1 - 1 / 8)), rtol=1e-6)
