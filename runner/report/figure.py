"""Matplotlib figures as PNG, without a window."""

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

from runner.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#333333"


def new_figure(**options: Any) -> "Figure":
    """An empty figure; ``options`` are those of matplotlib's ``Figure``.

    Raises:
      ConfigError: the environment names a backend that matplotlib does not have.
    """
    # matplotlib is slow to import, and pyplot would keep every figure alive.
    try:
        from matplotlib.figure import Figure
    except ValueError as error:
        problem = f"matplotlib cannot use {os.environ.get('MPLBACKEND')!r}"
        raise ConfigError("MPLBACKEND", problem, "unset it, or write agg") from error
    return Figure(layout="constrained", **options)


def as_png(figure: "Figure") -> bytes:
    """The figure as a PNG; characters that the font lacks are drawn as boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    png = io.BytesIO()
    with warnings.catch_warnings():
        # The warning about such a character would print it, even one that acts on a terminal.
        warnings.filterwarnings("ignore", "Glyph .* missing from ", category=UserWarning)
        FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()
