"""Checks of values: each returns None or raises a ``ConfigError`` under the key it is given."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from runner.errors import ConfigError, nearest

INT32_MAX = 2**31 - 1  # steps, seeds and sizes are int32 on the device
FLOAT32_MAX = (2 - 2**-23) * 2.0**127
FLOAT32_TINY = 2.0**-126  # the smallest normal number; XLA may take anything smaller for zero


def finite(key: str, value: Any) -> None:
    """``value`` is a real number that float32 can hold: no bool, NaN, infinity or subnormal."""
    if not _is_a(Real, value):
        raise ConfigError(key, f"{shown(value)} is not a number", "write a number")
    if value != value or value in (math.inf, -math.inf):  # isnan would fail on a huge int
        raise ConfigError(key, f"{shown(value)} is not finite", "write a finite number")
    if abs(value) > FLOAT32_MAX or 0 < abs(value) < FLOAT32_TINY:
        raise ConfigError(
            key,
            f"{shown(value)} is beyond what float32 holds",
            "write 0 or a number of a size from 1.2e-38 to 3.4e38",
        )


def positive(key: str, value: Any) -> None:
    """``value`` is a finite number above zero."""
    between(key, value, above=0)


def between(
    key: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """``value`` is a finite number within the bounds that are given."""
    finite(key, value)
    kept = (
        (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not kept:
        bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
        allowed = " and ".join(
            f"{word} {bound}" for word, bound in bounds.items() if bound is not None
        )
        raise ConfigError(key, f"{shown(value)} is not {allowed}", f"write a number {allowed}")


def whole(key: str, value: Any, *, at_least: int, at_most: int = INT32_MAX) -> None:
    """``value`` is an integer (not a bool, not ``500.0``) from ``at_least`` to ``at_most``."""
    if not _is_a(Integral, value):
        raise ConfigError(key, f"{shown(value)} is not a whole number", "write an integer")
    if not at_least <= value <= at_most:
        allowed = f"an integer from {at_least} to {at_most}"
        raise ConfigError(key, f"{shown(value)} is not {allowed}", f"write {allowed}")


def length(key: str, value: Any) -> None:
    """``value`` is a number of steps, at least one.

    One that is still written as a length (``"4ep"``) is left to whoever resolves it.
    """
    if not isinstance(value, str):
        whole(key, value, at_least=1)


def resolved(**lengths: Any) -> None:
    """Every one of the ``lengths`` is a number of steps by now."""
    for key, value in lengths.items():
        whole(key, value, at_least=1)


def rates(
    key: str, value: Any, *, at_least: float | None = None, above: float | None = None
) -> None:
    """``value`` is a finite number within the bounds, or a list of them: one for each group."""
    if not is_list(value):
        between(key, value, at_least=at_least, above=above)
        return
    if not value:
        raise ConfigError(key, "the list is empty", "write one for each group, or a number")
    for place, item in enumerate(value):
        between(f"{key}[{place}]", item, at_least=at_least, above=above)


def as_many(**values: Any) -> None:
    """Those of the ``values`` that are lists have the same length."""
    counts = {key: len(value) for key, value in values.items() if is_list(value)}
    for key, count in counts.items():
        first = next(iter(counts))
        if count != counts[first]:
            raise ConfigError(
                key,
                f"{count} rates, but {first} has {counts[first]}",
                "write one for each group in both, or a number for all groups",
            )


def ordered(key: str, value: Any, *, top_key: str, top: Any) -> None:
    """``value`` is at most ``top``; where they are lists, item by item."""
    count = len(value) if is_list(value) else len(top) if is_list(top) else 1
    lows = value if is_list(value) else [value] * count
    highs = top if is_list(top) else [top] * count
    for low, high in zip(lows, highs, strict=True):
        if low > high:
            problem = f"{shown(low)} is above {top_key} ({shown(high)})"
            raise ConfigError(key, problem, f"write {key} at most {top_key}")


def is_list(value: Any) -> bool:
    """Whether ``value`` is a sequence other than a text."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def widths(key: str, value: Sequence[Any]) -> tuple[int, ...]:
    """The widths of layers as a tuple, which keeps a module hashable.

    Raises:
      ConfigError: there are none, or one is not an int of at least 1.
    """
    if not value:
        raise ConfigError(key, "the list is empty", "write a width for each layer, such as [64,64]")
    for width in value:
        whole(key, width, at_least=1)
    return tuple(value)


def flag(key: str, value: Any) -> None:
    """``value`` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(key, f"{shown(value)} is neither true nor false", "write true or false")


def one_of(key: str, value: Any, allowed: Sequence[str]) -> None:
    """``value`` is one of the names in ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        problem = f"{shown(value)} is none of {', '.join(allowed)}"
        raise ConfigError(key, problem, nearest(str(value)[:40], allowed))


def shown(value: Any) -> str:
    """``value`` as an error shows it: one short line, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python agrees to print
        return "an integer of thousands of digits"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_a(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
