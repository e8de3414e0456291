"""Plots of schedules show their curves."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from runner.experiment.timeline import ScheduleValues
from runner.report.plots import comparison_figure, schedule_figure

BLUE, ORANGE, GREEN = (37, 99, 235), (234, 88, 12), (5, 150, 105)
PURPLE, PINK, BROWN = (147, 51, 234), (219, 39, 119), (133, 77, 14)


def triangle(steps, half):
    position = steps % (2 * half)
    return np.minimum(position, 2 * half - position).astype(np.float32) / np.float32(half)


def values(rates, *, momentum=None, steps=None, cycles=None):
    steps = np.arange(len(next(iter(rates.values())))) if steps is None else steps
    cycles = np.zeros(len(steps), int) if cycles is None else cycles
    return ScheduleValues(steps, rates, momentum, cycles)


def pixels(png, colour):
    """(column, row) of the pixels close to ``colour``."""
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)
    rows, columns = np.nonzero(np.abs(image - colour).sum(axis=2) < 60)
    return columns, rows


def test_the_curve_is_drawn_from_its_lowest_to_its_highest_point():
    steps = np.arange(401)
    png = schedule_figure(values({"lr": triangle(steps, 100)}), title="two cycles")
    columns, rows = pixels(png, BLUE)
    peaks = columns[rows == rows.min()]
    width = columns.max() - columns.min()
    # The peaks of a triangle of half-length 100 lie at a quarter and at three quarters of 400.
    shares = (peaks - columns.min()) / width
    assert np.abs(shares - 0.25).min() < 0.01
    assert np.abs(shares - 0.75).min() < 0.01
    assert np.all(np.minimum(np.abs(shares - 0.25), np.abs(shares - 0.75)) < 0.02)


def test_momentum_has_its_own_panel_and_each_group_its_own_colour():
    steps = np.arange(401)
    rates = {"body": triangle(steps, 100), "head": 2 * triangle(steps, 100)}
    plain = schedule_figure(values({"lr": rates["body"]}))
    momentum = 0.9 - 0.1 * triangle(steps, 100)
    both = schedule_figure(values(rates, momentum=momentum), cycle_ends=[200, 400])
    assert Image.open(io.BytesIO(both)).height > Image.open(io.BytesIO(plain)).height
    assert len(pixels(plain, ORANGE)[0]) == 0
    assert len(pixels(both, ORANGE)[0]) > 100
    assert len(pixels(both, BLUE)[0]) > 100


@pytest.mark.parametrize("count", [2, 3, 6])
def test_each_compared_schedule_has_its_own_colour(count):
    steps = np.arange(401)
    schedules = {
        f"option_{n}": values({"lr": triangle(steps, 100) + np.float32(n)}) for n in range(count)
    }
    png = comparison_figure(schedules)
    highest = []
    for number, colour in enumerate([BLUE, ORANGE, GREEN, PURPLE, PINK, BROWN]):
        columns, rows = pixels(png, colour)
        if number >= count:
            assert len(columns) == 0
        else:  # across the whole picture, each one above those before it
            assert columns.max() - columns.min() > 700
            highest.append(rows[columns > 800].min())
    assert highest == sorted(highest, reverse=True)


def drawn(monkeypatch, schedules):
    """(label, colour, dashes) of the curves of a comparison, by panel, and what its legend says."""
    from matplotlib.figure import Figure

    found = []
    subplots = Figure.subplots

    def noted(*args, **named):
        found.extend(subplots(*args, **named)[:, 0])
        return np.array(found)[:, None]

    monkeypatch.setattr(Figure, "subplots", noted)
    comparison_figure(schedules)
    legend = found[0].get_legend()
    extent = legend.get_window_extent()
    assert extent.y0 >= found[0].get_window_extent().y1  # it lies above all curves
    assert extent.x1 <= found[0].figure.bbox.x1
    curves = [
        [(curve.get_label(), curve.get_color(), curve.get_linestyle()) for curve in panel.lines]
        for panel in found
    ]
    return curves, [text.get_text() for text in legend.get_texts()]


def test_the_legend_names_the_schedules_and_groups_differ_in_dashes(monkeypatch):
    steps = np.arange(401)
    rate, momentum = triangle(steps, 100), 0.9 - 0.1 * triangle(steps, 100)
    groups = {"lr/body": rate, "lr/head": 2 * rate}
    (rates, momenta), legend = drawn(
        monkeypatch, {"cyclic": values(groups, momentum=momentum), "cosine": values(groups)}
    )
    assert legend == ["cyclic/body", "cyclic/head", "cosine/body", "cosine/head"]
    assert [label for label, _, _ in rates] == legend
    (_, first, solid), (_, second, dashed), (_, third, _), (_, fourth, _) = rates
    assert first == second != third == fourth
    assert solid != dashed
    assert [colour for _, colour, _ in momenta] == [first]


def test_a_title_is_not_parsed_as_mathematics():
    assert schedule_figure(values({"lr": np.ones(9)}), title="$^$").startswith(b"\x89PNG")


def test_no_two_of_all_schedulers_look_alike_and_their_names_fit(monkeypatch):
    names = [f"{'a_longer_name' if n % 2 else '_short$^$'}_{n}" for n in range(18)]
    (rates,), legend = drawn(monkeypatch, {n: values({"lr": np.ones(9)}) for n in names})
    assert legend == names
    assert len({(colour, dashes) for _, colour, dashes in rates}) == 18


def test_a_single_spike_among_a_million_steps_is_still_seen():
    rate = np.full(1_000_000, 0.01, np.float32)
    rate[617_284] = 1.0
    png = schedule_figure(values({"lr": rate}))
    _, rows = pixels(png, BLUE)
    assert rows.max() - rows.min() > 200


@pytest.mark.parametrize("rate", [[0.1], [0.0, 0.0], [-1.0, 1.0], [np.nan, 1.0], [1e-30, 1e30]])
def test_unusual_schedules_are_drawn_without_a_warning(rate):
    png = schedule_figure(values({"lr": np.array(rate, np.float32)}), cycle_ends=[1])
    assert png.startswith(b"\x89PNG")


@pytest.mark.slow
def test_pyplot_is_not_imported():
    code = (
        "import sys, numpy as np; from runner.report import plots;"
        "print('matplotlib' in sys.modules);"
        "plots.schedule_figure(plots.ScheduleValues(np.arange(2), {'lr': np.ones(2)}, None, None));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_texts_can_be_read_where_tensorboard_shows_a_picture_400_pixels_wide(monkeypatch):
    from matplotlib.figure import Figure

    found = []
    subplots = Figure.subplots
    monkeypatch.setattr(
        Figure,
        "subplots",
        lambda *args, **named: found.append(subplots(*args, **named)) or found[-1],
    )
    momentum = np.linspace(0.8, 0.9, 401)
    schedule_figure(values({"lr/a": momentum, "lr/b": momentum}, momentum=momentum), title="two")
    for axes in found[0].ravel():
        figure = axes.figure
        texts = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        for text in texts:
            height = text.get_fontsize() / 72 * figure.dpi
            assert height * 400 / figure.bbox.width >= 10
