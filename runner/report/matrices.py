"""Plots of confusion matrices."""

from collections.abc import Sequence

import numpy as np

from runner.report.figure import INK, as_png, new_figure
from runner.report.text import shortened

_LONGEST_LABEL = 14
# More classes are neither labelled nor counted in their cells, which would be too small to read.
_MOST_LABELS, _MOST_COUNTS = 50, 20


def confusion_figure(counts: np.ndarray, labels: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix [class, predicted class]; colours are shares of each class."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = min(3.0 + 0.28 * len(labels), 8.0)
    figure = new_figure(figsize=(size, size), dpi=160)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class", color=INK)
    axes.set_ylabel("class", color=INK)
    names = [shortened(label, _LONGEST_LABEL) for label in labels]
    if len(labels) <= _MOST_LABELS:
        places = range(len(labels))
        long = max(map(len, names)) > 2
        axes.set_xticks(places, names, rotation=90 if long else 0, fontsize=8, parse_math=False)
        axes.set_yticks(places, names, fontsize=8, parse_math=False)
    if len(labels) <= _MOST_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else INK
                axes.text(
                    column, row, f"{count}", ha="center", va="center", color=colour, fontsize=8
                )
    axes.tick_params(colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return as_png(figure)
