"""reduce_on_plateau against PyTorch's, and what early stopping makes of its count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schedule_cases import Case

from runner.schedules import ReduceOnPlateau
from runner.schedules.plateau import Plateau

CASES = {
    "reduce_on_plateau": Case(
        ReduceOnPlateau,
        {"base_lr": 0.5, "factor": 0.5},
        {"base_lr": 0.7, "factor": 0.3, "patience": 3, "eta_min": 0.1},
        lists=("base_lr", "eta_min"),
    )
}
RANDOM = np.random.default_rng(0)


def rates(schedule, values, *, highest=False):
    """The rate after each evaluation."""

    def body(state, value):
        state = schedule.plateau.after(state, value, highest=highest)
        return state, schedule.reduced(state)

    start = schedule.plateau.start()
    return np.asarray(jax.jit(lambda v: jax.lax.scan(body, start, v)[1])(jnp.asarray(values)))


def cases(count):
    for _ in range(count):
        settings = {
            "factor": RANDOM.choice([0.1, 0.5, 0.9]).item(),
            "patience": int(RANDOM.integers(0, 4)),
            "threshold": RANDOM.choice([0.0, 1e-4, 0.1]).item(),
            "threshold_mode": RANDOM.choice(["rel", "abs"]).item(),
            "cooldown": int(RANDOM.integers(0, 3)),
            "eps": RANDOM.choice([1e-8, 1e-3]).item(),
        }
        # Steps of 1/64, which float32 holds, so that both compare the same numbers.
        values = np.cumsum(RANDOM.integers(-3, 3, 60)) / 64 + 5
        yield settings, RANDOM.choice([0.0, 1e-3]).item(), values, bool(RANDOM.integers(2))


@pytest.mark.slow
@pytest.mark.oracle
def test_the_rates_are_pytorchs():
    """100 random configurations and walks of 60 evaluations; two parameter groups."""
    torch = pytest.importorskip("torch")
    for settings, lowest, values, highest in cases(100):
        base = [0.1, 0.02]
        groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in base]
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            torch.optim.SGD(groups), mode="max" if highest else "min", min_lr=lowest, **settings
        )
        expected = []
        for value in values:
            theirs.step(value)
            expected.append([group["lr"] for group in theirs.optimizer.param_groups])
        ours = ReduceOnPlateau(base_lr=base, eta_min=lowest, **settings)
        found = rates(ours, values.astype(np.float32), highest=highest)
        np.testing.assert_allclose(found, expected, rtol=5e-7, err_msg=str(settings))


def test_a_rate_is_halved_after_more_evaluations_than_the_patience():
    """Worse ones from the second on; a patience of one waits for two of them."""
    found = rates(ReduceOnPlateau(base_lr=0.5, factor=0.5, patience=1), [1.0, 2, 2, 2, 2, 0.5])
    assert found.tolist() == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_each_reduction_multiplies_the_rate_by_the_factor():
    """0.3 is not a power of two; 0.7 · 0.3^n by hand."""
    schedule = ReduceOnPlateau(base_lr=0.7, factor=0.3, patience=0)
    found = rates(schedule, [1.0, 2, 2, 2, 2])
    np.testing.assert_allclose(found, [0.7, 0.21, 0.063, 0.0189, 0.00567], rtol=5e-7)


def test_an_improvement_must_exceed_the_threshold():
    settings = {"base_lr": 0.5, "factor": 0.5, "patience": 0}
    relative = ReduceOnPlateau(**settings, threshold=0.25)
    assert rates(relative, [4.0, 3.0, 2.9]).tolist() == [0.5, 0.25, 0.25]
    absolute = ReduceOnPlateau(**settings, threshold=0.25, threshold_mode="abs")
    assert rates(absolute, [4.0, 3.75, 3.5]).tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # A reduction from 0.5 by 0.25, or to 0.4 by 0.1, would change it by no more than eps.
        ({"eps": 0.25}, [0.5] * 4),
        ({"eps": 0.2}, [0.5, 0.25, 0.25, 0.25]),
        ({"eps": 0.4, "factor": 0.9}, [0.5] * 4),
        ({"eta_min": 0.4, "eps": 0.2}, [0.5] * 4),
        ({"eta_min": 0.2, "eps": 0.04}, [0.5, 0.25, 0.2, 0.2]),
        ({"eta_min": 0.2, "eps": 0.06}, [0.5, 0.25, 0.25, 0.25]),
        ({"eps": 0.0}, [0.5, 0.25, 0.125, 0.0625]),
    ],
)
def test_a_reduction_by_no_more_than_eps_is_left_out(settings, expected):
    schedule = ReduceOnPlateau(base_lr=0.5, patience=0, **{"factor": 0.5} | settings)
    np.testing.assert_allclose(rates(schedule, [1.0, 2, 2, 2]), expected, rtol=1e-6)


def test_nan_is_never_the_best():
    schedule = ReduceOnPlateau(base_lr=0.5, factor=0.5, patience=1)
    assert rates(schedule, [np.nan, 3.0, 2.0, np.nan, np.nan]).tolist() == [0.5] * 4 + [0.25]


def test_the_schedule_of_the_step_alone_is_the_base_rate():
    schedule = ReduceOnPlateau(base_lr=[0.5, 0.25])
    assert schedule(0).tolist() == schedule(7).tolist() == [0.5, 0.25]
    assert float(ReduceOnPlateau(base_lr=0.5)(2**31 - 1)) == 0.5


def test_early_stopping_is_reached_with_the_last_evaluation_that_is_waited_for():
    state = (stopping := Plateau(patience=2, threshold=0.0, is_relative=False)).start()
    reached = []
    for value in (0.5, 0.4, 0.6, 0.6, 0.6, 0.6):
        state = stopping.after(state, jnp.float32(value), highest=True)
        reached.append(int(state.reached))
    assert reached == [0, 0, 0, 0, 0, 1]
