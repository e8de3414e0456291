"""Lengths in training: steps (``500``), epochs (``4ep``) or a share of the run (``25%``)."""

import re

from runner.checks import INT32_MAX
from runner.errors import ConfigError

Length = int | str

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ep|%)|([0-9]+)")
_REMEDY = "write steps (500), epochs (4ep) or a share of the run (25%)"


def is_length(value: object) -> bool:
    """Whether ``value`` is written as a length: an int, or a string of a number and a unit."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (
        isinstance(value, str) and _LENGTH.fullmatch(value) is not None
    )


def check_length(value: object, *, key: str) -> None:
    """Checks what can be known about a length before the size of an epoch is.

    Raises:
      ConfigError: ``value`` is no length, is zero or negative, or beyond 2³¹ - 1 steps whatever
        an epoch is.
    """
    if not is_length(value) or len(str(value)) > 40:
        shown = "null" if value is None else repr(str(value)[:40])
        raise ConfigError(key, f"{shown} is not a length", _REMEDY)
    number, unit, _ = _parts(str(value))
    limit = INT32_MAX * 100 if unit == "%" else INT32_MAX
    if not 0 < number <= limit:
        allowed = f"a length of 1 to {INT32_MAX} steps"
        raise ConfigError(key, f"{value!r} is not {allowed}", _REMEDY)


def resolve_length(
    value: Length, *, key: str, steps_per_epoch: int, total_steps: int | None = None
) -> int:
    """Turns a length into a number of steps, rounded to the nearest.

    Raises:
      ConfigError: ``value`` is no length, is a share where the run's own length is being
        asked for (``total_steps`` is None), or comes to less than one step or more than 2³¹ - 1.
    """
    check_length(value, key=key)
    number, unit, plain = _parts(str(value))
    if unit is None:
        steps = plain
    elif unit == "ep":
        steps = round(number * steps_per_epoch)
    elif total_steps is None:
        raise ConfigError(
            key,
            f"{value!r} is a share of the run, whose length it would set",
            "write steps (500) or epochs (4ep)",
        )
    else:
        steps = round(number / 100 * total_steps)
    if not 1 <= steps <= INT32_MAX:
        raise ConfigError(
            key, f"{value!r} comes to {steps} steps", f"write a length of 1 to {INT32_MAX} steps"
        )
    return steps


def _parts(text: str) -> tuple[float, str | None, int]:
    """Number, unit (None for steps) and whole steps (0 where there is a unit)."""
    match = _LENGTH.fullmatch(text)
    if match is None:  # a negative int, the only length without a match
        return float(text), None, int(text)
    number, unit, plain = match.groups()
    return (float(plain), None, int(plain)) if unit is None else (float(number), unit, 0)
