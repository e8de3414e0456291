"""Plots of schedules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from runner.experiment.timeline import ScheduleValues
from runner.report.figure import INK, as_png, new_figure
from runner.report.text import shortened

_FAINT = "#e3e6ea"
_COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#854d0e")
_MOMENTUM_COLOUR = "#64748b"
# Twice the picture's width in pixels: more points cannot be seen.
_POINTS = 2000
_MOST_ENDS = 60
# Where curves coincide, the first one is wider and is visible on both sides of the last one.
_WIDTHS = 3.2, 1.3
_WIDTH = 1.6
_DASHES = "-", "--", ":", "-."
# Characters that fit above a picture, and how many of them a curve's sample takes.
_LEGEND_CHARACTERS = 60, 6
_LONGEST_LABEL = 28


def schedule_figure(
    values: ScheduleValues, *, cycle_ends: Sequence[int] = (), title: str = ""
) -> bytes:
    """A PNG of the rates over steps and, if it is cycled, of the momentum below them.

    Several rates have a legend of their groups. ``cycle_ends``, steps at which a cycle ends, are
    drawn as thin lines unless there are too many; ``title`` is a line above the plot.
    """
    count = len(values.rates)
    widths = np.linspace(*_WIDTHS, count) if count > 1 else [_WIDTH]
    rates = [
        _Curve(label.removeprefix("lr/"), values.steps, rate, colour, width)
        for (label, rate), colour, width in zip(
            values.rates.items(), cycle(_COLOURS), widths, strict=False
        )
    ]
    momenta = []
    if values.momentum is not None:
        momenta = [_Curve("momentum", values.steps, values.momentum, _MOMENTUM_COLOUR)]
    return _figure(rates, momenta, cycle_ends=cycle_ends, title=title)


def comparison_figure(schedules: Mapping[str, ScheduleValues]) -> bytes:
    """A PNG of the rates of several schedules and, below them, of the momenta that are cycled.

    Each schedule has its own colour, the first one the widest line, and each parameter group its
    own dashes. The legend says ``name``, or ``name/group``.
    """
    rates, momenta = [], []
    widths = np.linspace(*_WIDTHS, max(len(schedules), 2))
    for index, (name, values) in enumerate(schedules.items()):
        turn, colour = divmod(index, len(_COLOURS))
        for group, (label, rate) in enumerate(values.rates.items()):
            full = f"{name}{label.removeprefix('lr')}"
            dashes = _DASHES[(turn + group) % len(_DASHES)]
            curve = _Curve(full, values.steps, rate, _COLOURS[colour], widths[index], dashes)
            rates.append(curve)
            if group == 0 and values.momentum is not None:
                momenta.append(replace(curve, values=values.momentum))
    return _figure(rates, momenta)


@dataclass(frozen=True, eq=False)
class _Curve:
    label: str
    steps: np.ndarray
    values: np.ndarray
    colour: str
    width: float = _WIDTH
    dashes: str = "-"


def _figure(
    rates: Sequence[_Curve],
    momenta: Sequence[_Curve],
    *,
    cycle_ends: Sequence[int] = (),
    title: str = "",
) -> bytes:
    rates = [replace(curve, label=shortened(curve.label, _LONGEST_LABEL)) for curve in rates]
    ratios = [2.0, 1.0] if momenta else [1.0]
    columns = _legend_columns(rates, beside=title)
    extra_rows = max(-(-len(rates) // columns) - 1, 0)
    height = 1.5 + 0.9 * len(ratios) + 0.17 * extra_rows
    figure = new_figure(figsize=(4.8, height), dpi=200)
    panels = len(ratios)
    all_axes = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    _draw_rates(all_axes[0], rates)
    if len(rates) > 1:
        _add_legend(all_axes[0], columns, side="right" if title else "left")
    if momenta:
        _draw_momenta(all_axes[1], momenta)
    for axes in all_axes:
        _style(axes, cycle_ends)
    all_axes[-1].set_xlabel("step", color=INK)
    all_axes[0].set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    return as_png(figure)


def _legend_columns(curves: Sequence[_Curve], *, beside: str) -> int:
    """The fewest columns for the smallest number of rows that fits beside the title."""
    available, sample = _LEGEND_CHARACTERS
    widest = max(len(curve.label) for curve in curves) + sample
    rows = -(-len(curves) // max((available - 2 * len(beside)) // widest, 1))
    return -(-len(curves) // rows)


def _draw_rates(axes: Any, curves: Sequence[_Curve]) -> None:
    for curve in curves:
        _draw(axes, curve)
    axes.set_ylabel("learning rate", color=INK)
    # From 0, so that heights are proportional to rates; a free scale_fn may go below it.
    if min(np.min(curve.values) for curve in curves) >= 0:
        axes.set_ylim(bottom=0)


def _draw_momenta(axes: Any, curves: Sequence[_Curve]) -> None:
    for curve in curves:
        _draw(axes, curve)
    axes.set_ylabel("momentum", color=INK)


def _draw(axes: Any, curve: _Curve) -> None:
    axes.plot(
        *_thinned(curve.steps, curve.values),
        color=curve.colour,
        linewidth=curve.width,
        linestyle=curve.dashes,
        marker="o" if len(curve.steps) == 1 else None,  # a line of one point is invisible
        label=curve.label,
    )


def _add_legend(axes: Any, columns: int, *, side: str) -> None:
    """Adds a legend in the row of the title: inside the axes it would cover a curve."""
    corner = (1, 1) if side == "right" else (0, 1)
    place = {"loc": f"lower {side}", "bbox_to_anchor": corner, "ncols": columns}
    # Passed explicitly, as matplotlib leaves out labels that begin with _.
    look = {"handlelength": 2.6, "frameon": False, "fontsize": 9, "labelcolor": INK}
    legend = axes.legend(handles=list(axes.lines), **look, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve in about ``_POINTS`` points: the first, lowest and highest of each interval."""
    if len(steps) <= _POINTS:
        return steps, values
    edges = np.linspace(0, len(steps), _POINTS // 3 + 1).astype(int)
    kept = {len(steps) - 1}
    for first, last in pairwise(edges):
        stretch = values[first:last]
        kept |= {int(first), int(first + stretch.argmin()), int(first + stretch.argmax())}
    order = np.array(sorted(kept))
    return steps[order], values[order]


def _style(axes: Any, cycle_ends: Sequence[int]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if len(cycle_ends) <= _MOST_ENDS:
        for end in cycle_ends:
            axes.axvline(end, color="#b6bcc6", linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b6bcc6")
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
