"""Lengths in training: steps (``500``), epochs (``4ep``) or a share of the run (``25%``)."""

import re

from runner.errors import ConfigError

Length = int | str

MAX_STEPS = 2**31 - 1
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(ep|%)|(\d+)")


def is_length(value: object) -> bool:
    """Whether ``value`` is written as a length: an int, or a string of a number and a unit."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (
        isinstance(value, str) and _LENGTH.fullmatch(value) is not None
    )


def resolve_length(
    value: Length, *, key: str, steps_per_epoch: int, total_steps: int | None = None
) -> int:
    """Turns a length into a number of steps, rounded to the nearest.

    Raises:
      ConfigError: ``value`` is no length, is a share where the run's own length is being
        asked for (``total_steps`` is None), or comes to less than one step or more than 2³¹ - 1.
    """
    match = _LENGTH.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        raise ConfigError(key, f"{value!r} is not a length", "write steps (500), epochs (4ep) or a share of the run (25%)")
    number, unit, plain = match.groups()
    if plain is not None:
        steps = int(plain)
    elif unit == "ep":
        steps = round(float(number) * steps_per_epoch)
    elif total_steps is None:
        raise ConfigError(key, f"{value!r} is a share of the run, whose length it would set", "write steps (500) or epochs (4ep)")
    else:
        steps = round(float(number) / 100 * total_steps)
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(key, f"{value!r} comes to {steps} steps", f"write a length of 1 to {MAX_STEPS} steps")
    return steps
