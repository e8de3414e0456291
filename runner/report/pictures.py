"""Pictures of training examples."""

from collections.abc import Sequence

import numpy as np

from runner.report.figure import INK, as_png, new_figure
from runner.report.text import shortened

_ROWS, _COLUMNS = 4, 8
_LONGEST_LABEL = 12
# The height of a label and the longer side of an image, in columns.
_LABEL, _SIDE = 0.25, 0.88


def examples_figure(images_bhwc: np.ndarray, labels: Sequence[str]) -> bytes:
    """A PNG of up to 32 images of one or three channels, each scaled to its own range."""
    figure = new_figure(figsize=(_COLUMNS * 0.9, _ROWS * 1.1), dpi=120)
    # One panel for all images: laying out one for each takes most of a second.
    axes = figure.subplots()
    axes.set_axis_off()
    places = [(i // _COLUMNS * (1 + _LABEL), i % _COLUMNS) for i in range(_ROWS * _COLUMNS)]
    for (top, left), image, label in zip(places, images_bhwc, labels, strict=False):
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low or 1.0)
        pixels = scaled.squeeze(-1) if image.shape[-1] == 1 else scaled
        x, y = left + 0.5, top + _LABEL + 0.5  # the centre of the image
        height, width = (_SIDE * size / max(pixels.shape[:2]) for size in pixels.shape[:2])
        edges = (x - width / 2, x + width / 2, y + height / 2, y - height / 2)
        axes.imshow(pixels, cmap="gray", extent=edges)
        name = shortened(label, _LONGEST_LABEL)
        style = {"fontsize": 7, "color": INK, "parse_math": False}
        axes.text(x, top + _LABEL * 0.8, name, ha="center", **style)
    axes.set(xlim=(0, _COLUMNS), ylim=(_ROWS * (1 + _LABEL), 0), aspect="equal")
    return as_png(figure)
