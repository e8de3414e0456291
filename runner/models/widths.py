"""The check of layer widths that the model families share."""

from collections.abc import Sequence

from runner.errors import ConfigError


def check_widths(key: str, widths: Sequence[int]) -> tuple[int, ...]:
    """The widths as a tuple, which keeps a module hashable.

    Raises:
      ConfigError: there are none, or one is not an int of at least 1.
    """
    if not widths:
        raise ConfigError(key, "there is no layer", "write one width a layer, such as [32,64]")
    for width in widths:
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ConfigError(key, f"{width!r} is no width", "write ints from 1 on")
    return tuple(widths)
