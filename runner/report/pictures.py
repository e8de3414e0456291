"""Pictures of training examples."""

import io
from collections.abc import Sequence

import numpy as np

from runner.report.text import shortened

_INK = "#333333"
_ROWS, _COLUMNS = 4, 8
_LONGEST_LABEL = 12


def examples_figure(images_bhwc: np.ndarray, labels: Sequence[str]) -> bytes:
    """A PNG of up to 32 images of one or three channels, each scaled to its own range."""
    # matplotlib is slow to import, and pyplot would keep every figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_COLUMNS * 0.9, _ROWS * 1.05), dpi=120, layout="constrained")
    cells = figure.subplots(_ROWS, _COLUMNS).ravel()
    for cell in cells:
        cell.set_axis_off()
    for cell, image, label in zip(cells, images_bhwc, labels, strict=False):
        low, high = image.min(), image.max()
        scaled = (image - low) / (high - low or 1.0)
        cell.imshow(scaled.squeeze(-1) if image.shape[-1] == 1 else scaled, cmap="gray")
        name = shortened(label, _LONGEST_LABEL)
        cell.set_title(name, fontsize=7, color=_INK, pad=2, parse_math=False)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
