"""What the pictures of a range test show."""

import numpy as np
import pytest

from runner.ranges import Answer, Curve, Spread
from runner.report import range_figure

RATES = np.geomspace(1e-4, 1, 5)
FIRST, SECOND = np.array([3.0, 2.0, 1.0, 2.0, 4.0]), np.array([3.0, 2.5, 2.0, 1.0, 2.0])
ANSWER = Answer(0.001, 0.1, 4.0, Spread(0.001, 0.001), Spread(0.1, 0.1), ())


@pytest.fixture
def axes(monkeypatch):
    """The axes of the pictures that were drawn."""
    drawn = []

    def kept(figure):
        drawn.extend(figure.axes)
        return b""

    monkeypatch.setattr(range_figure, "as_png", kept)
    return drawn


def curve(seed, smoothed):
    return Curve(seed, RATES, smoothed + 0.5, smoothed, stopped=False)


def check_band(band, *seeds):
    """The band reaches from the lowest to the highest loss of the seeds at each rate."""
    outline = band.get_paths()[0].vertices
    for rate, *losses in zip(RATES, *seeds, strict=True):
        heights = {y for x, y in outline if np.isclose(x, rate)}
        assert {min(losses), max(losses)} <= heights


def test_the_picture_has_each_seed_the_mean_the_band_the_bounds_and_the_rules(axes):
    curves = [curve(0, FIRST), curve(1, SECOND)]
    rules = {"steepest": 0.01, "valley": 0.1, "slide": None}
    range_figure.range_figure(curves, ANSWER, rules, title="mlp", is_log=True)
    (found,) = axes
    heights = [list(line.get_ydata()) for line in found.lines]
    for expected in (FIRST, SECOND, FIRST + 0.5, (FIRST + SECOND) / 2):
        assert list(expected) in heights
    (band,) = found.collections
    check_band(band, FIRST, SECOND)
    upright = [line.get_xdata()[0] for line in found.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == [0.001, 0.1]
    (shaded,) = found.patches
    assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == (0.001, 0.1)
    assert [text.get_text() for text in found.texts] == ["base_lr 0.001", "max_lr 0.1"]
    marks = {line.get_label(): line.get_xydata().tolist() for line in found.lines}
    assert marks["steepest"] == [[0.01, 1.5]]  # between 1.0 and 2.0
    assert marks["valley"] == [[pytest.approx(0.1), 1.5]]
    assert [text.get_text() for text in found.get_legend().texts] == ["steepest", "valley"]
    assert found.get_xscale() == "log"


def test_a_comparison_has_the_mean_of_each_value(axes):
    curves = {0.9: [curve(0, FIRST), curve(1, SECOND)], 0.5: [curve(0, SECOND)]}
    range_figure.values_figure(curves, over="momentum", title="mlp", is_log=False)
    (found,) = axes
    assert [list(line.get_ydata()) for line in found.lines] == [
        list((FIRST + SECOND) / 2),
        list(SECOND),
    ]
    for band, seeds in zip(found.collections, [(FIRST, SECOND), (SECOND,)], strict=True):
        check_band(band, *seeds)
    texts = [text.get_text() for text in found.get_legend().texts]
    assert texts == ["momentum 0.9", "momentum 0.5"]
    assert found.get_xscale() == "linear"
