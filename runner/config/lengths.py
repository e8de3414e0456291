"""Lengths in training: steps (``500``), epochs (``4ep``) or a share of the run (``25%``)."""

import re

from runner.errors import INT32_MAX, ConfigError, shown

Length = int | str

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ep|%)|([0-9]+)")
# A smaller share is probably a mistake if it is less than one step.
_LEAST_SHARE = 1.0
_REMEDY = "write steps (500), epochs (4ep) or a share of the run (25%)"


def check_length(value: object, *, key: str, at_least: int = 1) -> None:
    """Checks a length as far as possible before the size of an epoch is known.

    Raises:
      ConfigError: ``value`` is not a length, is less than ``at_least`` steps, or is more than
        2³¹ - 1 steps whatever the size of an epoch.
    """
    number, unit = _parsed(value, key)
    limit = INT32_MAX * 100 if unit == "%" else INT32_MAX
    least = at_least if unit is None else 0
    if not least <= number <= limit or (number == 0 and at_least > 0):
        allowed = f"a length of {at_least} to {INT32_MAX} steps"
        raise ConfigError(key, f"{value!r} is not {allowed}", _REMEDY)


def is_zero(value: Length) -> bool:
    """Whether a length is written as zero, in any unit."""
    return _parsed(value, key="")[0] == 0


def without_point(value: object) -> str | None:
    """The whole number that a float (``2.0``, ``1e3``) is equal to, if there is one."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= INT32_MAX:
        return str(int(value))
    return None


def resolve_length(
    value: Length,
    *,
    key: str,
    steps_per_epoch: int,
    total_steps: int | None = None,
    at_least: int = 1,
) -> int:
    """Turns a length into a number of steps, rounded to the nearest.

    A share of at least 1% is at least ``at_least`` steps, so that defaults fit runs of any length.

    Raises:
      ConfigError: ``value`` is not a length, is a share although the run's own length is being
        resolved (``total_steps`` is None), or resolves to fewer than ``at_least`` steps or more
        than 2³¹ - 1.
    """
    check_length(value, key=key, at_least=at_least)
    number, unit = _parsed(value, key)
    if unit is None:
        return int(value)
    if unit == "ep":
        steps = round(number * steps_per_epoch)
    elif total_steps is None:
        problem = f"{value!r} is a share of the run's length, which this setting defines"
        raise ConfigError(key, problem, "write steps (500) or epochs (4ep)")
    else:
        steps = round(number / 100 * total_steps)
        if number >= _LEAST_SHARE:
            steps = max(steps, at_least)
    if not at_least <= steps <= INT32_MAX:
        remedy = f"write a length of {at_least} to {INT32_MAX} steps"
        raise ConfigError(key, f"{value!r} resolves to {steps} steps", remedy)
    return steps


def _parsed(value: object, key: str) -> tuple[float, str | None]:
    """The number of a length and its unit, None for steps."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, None
    # More digits than this could not be a length, but would take long to read.
    match = _LENGTH.fullmatch(value) if isinstance(value, str) and len(value) <= 40 else None
    if match is None:
        whole = without_point(value)
        remedy = f"write {whole}, without a decimal point or exponent" if whole else _REMEDY
        raise ConfigError(key, f"{shown(value)} is not a length", remedy)
    number, unit, steps = match.groups()
    return float(steps or number), unit
