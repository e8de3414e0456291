"""The trend is the curve without its noise."""

import numpy as np
import pytest
from curves import curve_of, logistic, usual

from runner.ranges.trend import trend


@pytest.mark.parametrize("n", [10, 37, 200])
def test_a_straight_line_is_its_own_trend(n: int) -> None:
    losses = np.linspace(3, 1, n)
    found = trend(curve_of(losses))
    assert found is not None
    np.testing.assert_allclose(found.losses, losses / 3, rtol=1e-12)
    # From 1e-7 to 10 the loss falls by 2, in units of 3.
    np.testing.assert_allclose(found.slopes, -2 / 3 / np.log(1e8), rtol=1e-9)


def test_a_long_curve_is_averaged_over_neighbouring_points() -> None:
    losses = np.linspace(3, 1, 1000)
    found = trend(curve_of(losses))
    assert found is not None
    np.testing.assert_allclose(found.losses * 3, losses.reshape(200, 5).mean(axis=1), rtol=1e-12)
    rates = np.logspace(-7, 1, 1000).reshape(200, 5)[:, 2]
    np.testing.assert_allclose(np.exp(found.log_rates), rates, rtol=1e-9)


def test_a_single_spike_leaves_the_trend_as_it_is() -> None:
    losses = usual()
    spiked = losses.copy()
    spiked[30] = 4.0
    plain, found = (trend(curve_of(values)) for values in (losses, spiked))
    assert plain is not None
    assert found is not None
    np.testing.assert_allclose(found.losses, plain.losses, rtol=0.01)


def test_the_standard_error_is_the_deviation_of_the_trend() -> None:
    rates = np.logspace(-7, 1, 150)
    clean = logistic(rates, -3, 1.0)
    deviations, errors = [], []
    for seed in range(200):
        losses = clean + 0.05 * np.random.default_rng(seed).normal(size=150)
        found = trend(curve_of(losses))
        assert found is not None
        unit = losses.max()
        deviations.append(unit * found.losses[60] - clean[60])
        errors.append(unit * found.errors[60])
    # The error is that of white noise; the running median of three makes it somewhat correlated.
    assert np.mean(errors) == pytest.approx(np.std(deviations), rel=0.35)


def test_nine_points_have_no_trend() -> None:
    assert trend(curve_of(np.linspace(3, 1, 9))) is None


@pytest.mark.parametrize(("share", "falls"), [(1e-9, False), (1e-4, True)])
def test_a_fall_that_float32_cannot_hold_is_noise(share: float, falls: bool) -> None:
    """Neighbouring numbers of float32 differ by 6e-8 or more of their size."""
    found = trend(curve_of(np.where(np.arange(100) < 50, 2.3, 2.3 * (1 - share))))
    assert found is not None
    assert found.falls == falls
