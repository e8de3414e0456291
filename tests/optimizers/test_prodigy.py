"""Prodigy: the cases of the common tests, its first updates and what it estimates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from optimizer_cases import Case, trajectory

from runner.optimizers import split

PRODIGY = {
    "b1": 0.85,
    "b2": 0.95,
    "beta3": None,
    "eps": 1e-6,
    "estim_lr0": 1e-3,
    "estim_lr_coef": 1.1,
    "weight_decay": 0.02,
    "safeguard_warmup": False,
}


def by_hand(lr: Any, b1: Any, b2: Any, **others: Any) -> optax.GradientTransformation:
    return contrib.prodigy(lr, betas=(b1, b2), **others)


CASES = [
    Case("prodigy", PRODIGY, by_hand),
    Case(
        "prodigy",
        PRODIGY | {"beta3": 0.9, "safeguard_warmup": True},
        lambda lr, **n: by_hand(lr, **n, safeguard_warmup=True),
    ),
]

REFUSED = [
    ("optimizer=prodigy optimizer.b1=1", "b1"),
    ("optimizer=prodigy optimizer.beta3=-1", "beta3"),
    ("optimizer=prodigy optimizer.estim_lr0=0", "estim_lr0"),
]


def test_the_first_update_is_the_rate_times_the_first_estimate_whatever_the_gradient():
    # Adam's two corrections cancel at the first update, and the estimate has not changed yet.
    passed = trajectory("prodigy", {"estim_lr0": 0.01}, [0.5], [[5.0, -0.1]], [1.0, 1.0])
    np.testing.assert_allclose(passed, [[0.995, 1.005]], rtol=1e-6)


def test_the_rate_of_an_update_is_that_of_its_step():
    """The sum of gradients weights each gradient by the rate of its own step."""
    arguments = {"b1": 0.5, "b2": 0.25, "estim_lr0": 0.01}
    optimizer, hyperparams = split("prodigy", arguments)
    params = jnp.array([1.0])
    state = optimizer.build(0.5, hyperparams).init(params)
    expected = 0.0
    for count, rate in enumerate((0.5, 1.0, 0.25), start=1):
        tx = optimizer.build(rate, hyperparams)
        estimate = float(state.estim_lr)
        correction = (1 - 0.25**count) ** 0.5 / (1 - 0.5**count)
        expected = 0.5 * expected + rate * estimate**2 / 0.01 * correction * 2.0
        updates, state = tx.update(jnp.array([2.0]), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(state.grad_sum, [expected], rtol=1e-5)


@pytest.mark.parametrize("distance", [0.1, 10.0])
@pytest.mark.parametrize("safeguard_warmup", [False, True])
def test_the_estimate_grows_to_the_distance_and_not_beyond(distance, safeguard_warmup):
    """Minimises ``|x - distance|`` from 0; the estimate is a lower bound of the distance."""
    optimizer, hyperparams = split("prodigy", {"safeguard_warmup": safeguard_warmup})
    tx = optimizer.build(1.0, hyperparams)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.sign(params - distance), state, params)
        return (optax.apply_updates(params, updates), state), state.estim_lr

    start = jnp.zeros(1), tx.init(jnp.zeros(1))
    (params, _), estimates = jax.lax.scan(step, start, length=400)
    assert (np.diff(estimates) >= 0).all()
    assert 0.1 * distance < estimates[-1] <= distance
    assert abs(params[0] - distance) < distance


@pytest.mark.parametrize("idle", ["rate", "gradient"])
@pytest.mark.parametrize("safeguard_warmup", [False, True])
def test_it_waits_for_a_gradient_at_a_rate_above_zero(idle, safeguard_warmup):
    arguments = {"safeguard_warmup": safeguard_warmup, "estim_lr0": 0.01, "weight_decay": 0.1}
    rates = [0.0, 0.0, 1.0, 1.0] if idle == "rate" else [1.0] * 4
    grads = [[1.0], [1.0], [1.0], [0.5]] if idle == "rate" else [[0.0], [0.0], [1.0], [0.5]]
    passed = trajectory("prodigy", arguments, rates, grads, [2.0])
    np.testing.assert_array_equal(passed[:2], [[2.0], [2.0]])
    begun = trajectory("prodigy", arguments, rates[2:], grads[2:], [2.0])
    np.testing.assert_array_equal(passed[2:], begun)
    assert np.isfinite(passed).all()
    assert passed[3] < passed[2] < 2


def test_beta3_is_the_decay_of_the_sums_that_the_estimate_is_made_of():
    def estimates(tx):
        params, found = jnp.zeros(1), []
        state = tx.init(params)
        for _ in range(12):
            updates, state = tx.update(jnp.sign(params - 10.0), state, params)
            params = optax.apply_updates(params, updates)
            found.append(float(state.estim_lr))
        return found

    optimizer, hyperparams = split("prodigy", {"beta3": 0.5})
    found = estimates(optimizer.build(1.0, hyperparams))
    np.testing.assert_allclose(found, estimates(contrib.prodigy(1.0, beta3=0.5)), rtol=1e-5)
    assert found[-1] != pytest.approx(estimates(contrib.prodigy(1.0))[-1], rel=0.01)
