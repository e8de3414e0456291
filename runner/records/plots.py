"""Draws a schedule as a picture and writes it as a table."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from runner.errors import StorageError

_INK = "#333333"
_FAINT = "#e3e6ea"
_COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#0891b2")
_MOMENTUM_COLOUR = "#64748b"
# Twice the picture's width in pixels: more points cannot be seen, only waited for.
_POINTS = 2000
_MOST_ENDS = 60


@dataclass(frozen=True, eq=False)
class ScheduleValues:
    """What a schedule is at some steps.

    Attributes:
      steps: int [n], rising.
      rates: name → values [n]: ``lr``, or one ``lr/<group>`` per parameter group.
      momentum: values [n], or None where it is not cycled.
      cycles: int [n].
    """

    steps: np.ndarray
    rates: Mapping[str, np.ndarray]
    momentum: np.ndarray | None
    cycles: np.ndarray


def schedule_figure(
    values: ScheduleValues, *, cycle_ends: Sequence[int] = (), title: str = ""
) -> bytes:
    """A PNG of the rates over steps, below them the momentum where it is cycled.

    More than one rate gives a legend. ``cycle_ends``, steps at which a cycle ends, are drawn as
    thin lines while they can be told apart; ``title`` is a line above the picture.
    """
    steps, momentum = values.steps, values.momentum
    # matplotlib takes its time to import, and pyplot would keep every figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 1 if momentum is None else 2
    figure = Figure(figsize=(8, 2.2 + 1.3 * panels), dpi=120, layout="constrained")
    ratios = [1.0] if momentum is None else [2.0, 1.0]
    all_axes = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    _draw_rates(all_axes[0], steps, values.rates)
    if momentum is not None:
        _draw_momentum(all_axes[1], steps, momentum)
    for axes in all_axes:
        _style(axes, cycle_ends)
    all_axes[-1].set_xlabel("step", color=_INK)
    all_axes[0].set_title(title, loc="left", fontsize=11, color=_INK)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def write_schedule_csv(path: Path, blocks: Iterable[ScheduleValues]) -> None:
    """Writes ``step,lr,momentum,cycle``, a row a step; numbers read back to the same float32.

    Args:
      blocks: the steps in order, as many at a time as are to be held in memory; the momentum's
        column is empty where it is None.

    Raises:
      StorageError: the file exists already, which is never overwritten, or cannot be written.
    """
    try:
        with path.open("x", encoding="ascii", newline="\n") as file:
            for number, block in enumerate(blocks):
                if number == 0:
                    file.write(",".join(["step", *block.rates, "momentum", "cycle"]) + "\n")
                file.write(_csv_rows(block))
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise StorageError(str(path), problem, "choose another folder, or make room") from error


def _draw_rates(axes: Any, steps: np.ndarray, rates: Mapping[str, np.ndarray]) -> None:
    for number, (label, values) in enumerate(rates.items()):
        _draw(axes, steps, values, colour=_COLOURS[number % len(_COLOURS)], label=label)
    axes.set_ylabel("learning rate", color=_INK)
    # From 0, so that heights compare as the rates do; a free scale_fn may lead below it.
    if min(np.min(values) for values in rates.values()) >= 0:
        axes.set_ylim(bottom=0)
    if len(rates) > 1:
        # In the title's row: inside, it would lie on a curve.
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(rates)}
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK, **place)


def _draw_momentum(axes: Any, steps: np.ndarray, momentum: np.ndarray) -> None:
    _draw(axes, steps, momentum, colour=_MOMENTUM_COLOUR, label="momentum")
    axes.set_ylabel("momentum", color=_INK)


def _draw(axes: Any, steps: np.ndarray, values: np.ndarray, *, colour: str, label: str) -> None:
    marker = "o" if len(steps) == 1 else None  # a line of one point cannot be seen
    axes.plot(*_outline(steps, values), color=colour, linewidth=1.6, marker=marker, label=label)


def _outline(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve in at most about ``_POINTS`` points: each stretch's first, lowest and highest."""
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
    axes.tick_params(colors=_INK, labelsize=9, length=3)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def _csv_rows(block: ScheduleValues) -> str:
    """The rows as text; numpy writes a float32 in the fewest digits that read back the same."""
    rates = [_float32(column).astype(str).tolist() for column in block.rates.values()]
    if block.momentum is None:
        momentum = [""] * len(block.steps)
    else:
        momentum = _float32(block.momentum).astype(str).tolist()
    columns = [
        block.steps.astype(str).tolist(),
        *rates,
        momentum,
        block.cycles.astype(str).tolist(),
    ]
    return "".join(",".join(row) + "\n" for row in zip(*columns, strict=True))
