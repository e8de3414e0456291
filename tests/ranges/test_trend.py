"""The trend is the curve without its noise."""

import math
from typing import Any

import numpy as np
import pytest
from curves import curve_of, logistic, usual

from runner.ranges import Curve
from runner.ranges.trend import Trend, trend


@pytest.mark.parametrize("n", [10, 37, 200])
def test_a_straight_line_is_its_own_trend(n: int) -> None:
    losses = np.linspace(3, 1, n)
    found = trend(curve_of(losses))
    assert found is not None
    np.testing.assert_allclose(found.losses, losses / 3, rtol=1e-12)
    # From 1e-7 to 10 the loss falls by 2, in units of 3.
    np.testing.assert_allclose(found.slopes, -2 / 3 / np.log(1e8), rtol=1e-9)


NORMAL = np.random.default_rng(2).normal(size=300)


def by_refitting(curve: Curve) -> dict[str, Any]:
    """The attributes of the trend, from one least-squares fit for each point and bandwidth.

    The cross-validation leaves each point out and fits the others.
    """
    size = math.ceil(len(curve.losses) / 200)
    bins = range(0, len(curve.losses), size)
    raw, log_rates = (
        np.array([values[i : i + size].mean() for i in bins])
        for values in (curve.losses, np.log(curve.rates))
    )
    unit, m = np.abs(curve.losses).max(), len(raw)
    triples = zip(curve.losses, curve.losses[1:], curve.losses[2:], strict=False)
    smoother = [curve.losses[0], *(sorted(triple)[1] for triple in triples), curve.losses[-1]]
    losses = np.array([np.mean(smoother[i : i + size]) for i in bins]) / unit
    start_points = max(3, round(m / 10))
    start = losses[:start_points].mean()
    losses = np.minimum(losses, 2 * start - losses.min())
    noise = np.median(np.abs(np.diff(raw / unit, 2))) / (0.6745 * 6**0.5)

    def row(positions: np.ndarray, at: int, bandwidth: float, *, without: bool = False) -> Any:
        offsets = positions - positions[at]
        roots = np.exp(-0.25 * (offsets / bandwidth) ** 2)
        roots[at] *= not without
        return np.linalg.pinv(np.stack([roots, roots * offsets], axis=1)) * roots

    places, bandwidths = np.arange(m), np.geomspace(1, max(m / 10, 1.5), 8)
    mistakes = [
        sum((losses[i] - row(places, i, h, without=True)[0] @ losses) ** 2 for i in range(m))
        for h in bandwidths
    ]
    rows = np.array([row(places, i, bandwidths[np.argmin(mistakes)])[0] for i in range(m)])
    smooth = rows @ losses
    lowest = int(np.argmin(smooth))
    fall = start - smooth[lowest]
    first = max((i for i in range(lowest) if smooth[i] >= start - fall / 10), default=0)
    last = min(i for i in range(first, m) if smooth[i] <= smooth[lowest] + fall / 10)
    width = max((log_rates[last] - log_rates[first]) / 4, np.diff(log_rates).max())
    slopes = np.array([row(log_rates, i, width)[1] @ losses for i in range(m)])
    return {
        "log_rates": log_rates,
        "losses": smooth,
        "slopes": slopes,
        "start": start,
        "start_points": start_points,
        "start_error": noise / start_points**0.5,
        "errors": noise * np.sqrt((rows**2).sum(axis=1)),
        "lowest": lowest,
        "steepest": first + int(np.argmin(slopes[first : last + 1])),
        "fall": fall,
    }


@pytest.mark.parametrize(
    "losses",
    [
        usual(20, noise=0.02),
        usual(60, noise=0.1, seed=1),
        logistic(np.geomspace(1e-7, 10, 201), -2, 0.5) + 0.05 * NORMAL[:201],  # one too many
        usual(190, noise=0.2, seed=2),
        usual(430, noise=0.1, seed=3),
        3 - np.linspace(0, 1, 15) ** 2,  # steepest where it ends
    ],
    ids=len,
)
def test_the_trend_is_that_of_a_fit_at_each_point(losses: np.ndarray) -> None:
    curve = curve_of(losses)
    found, expected = trend(curve), by_refitting(curve)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-7, atol=1e-9, err_msg=name)


def of_losses(losses: list[float], **settings: Any) -> Trend:
    """A trend with these losses, whose standard errors are those of ``settings`` or 0."""
    zeros = np.zeros(len(losses))
    given = {"start": losses[0], "start_points": 1, "start_error": 0.0, "errors": zeros} | settings
    lowest = int(np.argmin(losses))
    return Trend(zeros, np.array(losses), zeros, lowest=lowest, steepest=0, **given)


@pytest.mark.parametrize(
    ("losses", "settings", "falls", "rises", "ends_above"),
    [
        ([2.0, 1.0, 1.0], {}, True, False, False),
        # The lowest is one of the first points.
        ([2.0, 1.0, 1.5], {"start_points": 2}, False, True, False),
        # A fall of 1 and errors of 3 and 4 units: 1 > 4 * 5 * 0.049, and not 4 * 5 * 0.051.
        ([2.0, 1.0], {"start_error": 0.147, "errors": np.array([0, 0.196])}, True, False, False),
        ([2.0, 1.0], {"start_error": 0.153, "errors": np.array([0, 0.204])}, False, False, False),
        # Exactly four errors are not more.
        ([2.0, 1.0, 2.0], {"errors": np.array([0, 0.25, 0.25])}, False, False, False),
        ([1.0, 2.0], {"errors": np.array([9, 0.25])}, False, False, False),
        # A rise of 1 against four errors of the last point, and by 1 above the start.
        ([2.0, 1.0, 2.0], {"errors": np.array([0, 9, 0.24])}, False, True, False),
        ([2.0, 1.0, 2.0], {"errors": np.array([0, 0, 0.26])}, True, False, False),
        ([1.0, 2.0], {"start_error": 0.147, "errors": np.array([9, 0.196])}, False, True, True),
        ([1.0, 2.0], {"start_error": 0.153, "errors": np.array([9, 0.204])}, False, True, False),
    ],
)
def test_a_fall_or_rise_is_more_than_four_standard_errors(
    losses: list[float], settings: Any, falls: bool, rises: bool, ends_above: bool
) -> None:
    found = of_losses(losses, **settings)
    assert (found.falls, found.rises, found.rises_from_start) == (falls, rises, ends_above)


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
