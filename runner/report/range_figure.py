"""The picture of a range test: loss over learning rate, with the bounds that it suggests."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from runner.ranges import Answer, Curve
from runner.report.figure import INK, as_png, new_figure
from runner.report.text import shortened

_BLUE, _FAINT, _LINE, _GREEN = "#2563eb", "#e3e6ea", "#b6bcc6", "#059669"
_COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#854d0e")
_MARKERS = ("^", "o", "s", "D", "v", "P")
_MARK = "#ea580c"
_SIZE, _DPI = (4.8, 3.3), 200
# Space above the highest loss before the rise, as a share of the fall.
_HEADROOM = 0.35
_LONGEST_LABEL = 28
# Of a label of a bound, as a share of the axes.
_LABEL_WIDTH = 0.25
# Widths of the curves of a comparison, in points.
_WIDTH, _WIDEST = 1.6, 4.8


def range_figure(
    curves: Sequence[Curve],
    answer: Answer | None,
    rules: Mapping[str, float | None],
    *,
    title: str,
    is_log: bool,
) -> bytes:
    """A PNG of the smoothed loss over the rate: each seed, the mean, and the band of all seeds.

    The bounds of ``answer`` are lines with the range between them shaded, and the rates of the
    ``rules`` are marks on the mean.
    """
    figure = new_figure(figsize=_SIZE, dpi=_DPI)
    axes = figure.subplots()
    rates, mean, low, high = band(curves)
    for curve in curves:
        axes.plot(curve.rates, curve.losses, color=_BLUE, linewidth=0.5, alpha=0.16)
        axes.plot(curve.rates, curve.smoothed, color=_BLUE, linewidth=0.9, alpha=0.4)
    axes.fill_between(rates, low, high, color=_BLUE, alpha=0.15, linewidth=0)
    axes.plot(rates, mean, color=_BLUE, linewidth=2.0)
    _scale(axes, curves, is_log=is_log)
    if answer is not None:
        _draw_bounds(axes, answer)
    _draw_rules(axes, rates, mean, rules)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False, pad=22)
    return as_png(figure)


def values_figure(
    curves: Mapping[Any, Sequence[Curve]], *, over: str, title: str, is_log: bool
) -> bytes:
    """A PNG with one curve for each value of the setting ``over``, the mean of its seeds."""
    figure = new_figure(figsize=_SIZE, dpi=_DPI)
    axes = figure.subplots()
    # Each thinner than the one before, so that coinciding curves are all visible.
    widths = np.linspace(min(_WIDEST, _WIDTH * len(curves)), _WIDTH, len(curves))
    for (value, group), colour, width in zip(curves.items(), cycle(_COLOURS), widths, strict=False):
        rates, mean, low, high = band(group)
        axes.fill_between(rates, low, high, color=colour, alpha=0.12, linewidth=0)
        label = shortened(f"{over} {value:g}", _LONGEST_LABEL)
        axes.plot(rates, mean, color=colour, linewidth=width, label=label)
    _scale(axes, [curve for group in curves.values() for curve in group], is_log=is_log)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    return as_png(figure)


def band(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The rates that all curves share, and mean, minimum and maximum of their smoothed losses."""
    n = min(len(curve.rates) for curve in curves)
    smoothed = np.array([curve.smoothed[:n] for curve in curves])
    return curves[0].rates[:n], smoothed.mean(0), smoothed.min(0), smoothed.max(0)


def _scale(axes: Any, curves: Sequence[Curve], *, is_log: bool) -> None:
    """Shows the fall of the losses in full, and as much of their rise as helps to see it."""
    lowest = min(float(curve.smoothed.min()) for curve in curves)
    start = max(float(curve.smoothed[: max(len(curve.smoothed) // 4, 1)].max()) for curve in curves)
    fall = (start - lowest) or 1.0
    axes.set_ylim(lowest - 0.12 * fall, start + _HEADROOM * fall)
    if is_log:
        axes.set_xscale("log")
    axes.margins(x=0.01)
    axes.set_xlabel("learning rate", color=INK)
    axes.set_ylabel("smoothed loss", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.tick_params(which="minor", length=0)


def _draw_bounds(axes: Any, answer: Answer) -> None:
    axes.axvspan(answer.base_lr, answer.max_lr, color=_GREEN, alpha=0.10, linewidth=0, zorder=0)
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    # The labels are outside the range, so that they do not overlap where it is narrow. One that
    # would leave the picture is on the other side of its line, and lower.
    for name, rate, outside in (
        ("base_lr", answer.base_lr, "left"),
        ("max_lr", answer.max_lr, "right"),
    ):
        axes.axvline(rate, color=_GREEN, linewidth=1.3)
        place = to_axes.transform((rate, 0))[0]
        fits = place > _LABEL_WIDTH if outside == "left" else place < 1 - _LABEL_WIDTH
        is_left = fits == (outside == "left")
        axes.annotate(
            f"{name} {rate:.2g}",
            (rate, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if is_left else 3, -2 if fits else -16),
            textcoords="offset points",
            ha="right" if is_left else "left",
            va="top",
            fontsize=9,
            color=_GREEN,
            fontweight="bold",
            # Legible where the rising losses cross it.
            bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1},
            zorder=6,
        )


def _draw_rules(
    axes: Any, rates: np.ndarray, mean: np.ndarray, rules: Mapping[str, float | None]
) -> None:
    marks = []
    for (name, rate), marker in zip(rules.items(), cycle(_MARKERS), strict=False):
        if rate is not None and rates[0] <= rate <= rates[-1]:
            height = np.interp(rate, rates, mean)
            look = {"color": _MARK, "markeredgecolor": "white", "markersize": 6, "linestyle": ""}
            marks += axes.plot([rate], [height], marker, label=name, zorder=5, **look)
    if marks:
        axes.legend(
            handles=marks,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=len(marks),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            handletextpad=0.1,
            columnspacing=1.0,
            borderpad=0.1,
        )
