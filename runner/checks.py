"""Range and cross-field checks shared by the configuration and the library's constructors.

Each check returns None or raises a ``ConfigError`` that names the argument, its value, what is
allowed and what to write. Nothing here imports jax, so bad settings are answered at once.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, get_args

from runner.errors import ConfigError, nearest

INT32_MAX = 2**31 - 1  # steps, seeds and sizes are int32 on the device
FLOAT32_MAX = (2 - 2**-23) * 2.0**127
FLOAT32_TINY = 2.0**-126  # the smallest normal number; XLA may take anything smaller for zero

Mode = Literal["triangular", "triangular2", "exp_range"]
ScaleMode = Literal["cycle", "iterations"]


def check_cyclic(
    *,
    base_lr: Any,
    max_lr: Any,
    step_size_up: Any,
    step_size_down: Any,
    mode: Any,
    gamma: Any,
    scale_mode: Any,
    last_epoch: Any,
    cycle_momentum: Any,
    base_momentum: Any,
    max_momentum: Any,
) -> None:
    """Checks the arguments of ``CyclicLR``, one by one and against each other.

    A step size that is still written as a length (``"4ep"``) is left to whoever resolves it.

    Raises:
      ConfigError: its key is the name of the argument.
    """
    between("base_lr", base_lr, at_least=0)
    positive("max_lr", max_lr)
    _ordered("base_lr", base_lr, top_key="max_lr", top=max_lr)
    _check_step_sizes(step_size_up, step_size_down)
    one_of("mode", mode, get_args(Mode))
    positive("gamma", gamma)
    one_of("scale_mode", scale_mode, get_args(ScaleMode))
    _check_last_epoch(last_epoch)
    flag("cycle_momentum", cycle_momentum)
    between("base_momentum", base_momentum, at_least=0, below=1)
    between("max_momentum", max_momentum, at_least=0, below=1)
    _ordered("base_momentum", base_momentum, top_key="max_momentum", top=max_momentum)


def check_constant(*, base_lr: Any) -> None:
    """Checks the argument of ``Constant``.

    Raises:
      ConfigError: ``base_lr`` is not a number of at least zero.
    """
    between("base_lr", base_lr, at_least=0)


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


def _ordered(key: str, value: Any, *, top_key: str, top: Any) -> None:
    if value > top:
        problem = f"{shown(value)} is above {top_key} ({shown(top)})"
        raise ConfigError(key, problem, f"write {key} at most {top_key}")


def _check_step_sizes(up: Any, down: Any) -> None:
    for key, size in (("step_size_up", up), ("step_size_down", down)):
        still_a_length = isinstance(size, str)
        same_as_up = key == "step_size_down" and size is None
        if not still_a_length and not same_as_up:
            whole(key, size, at_least=1)
    if isinstance(up, str) or isinstance(down, str):
        return
    total = int(up) + int(up if down is None else down)
    if total > INT32_MAX:
        problem = f"a cycle of step_size_up + step_size_down = {total} steps is too long"
        raise ConfigError(
            "step_size_up", problem, f"write step sizes that add up to at most {INT32_MAX}"
        )


def _check_last_epoch(last_epoch: Any) -> None:
    if _is_a(Integral, last_epoch) and last_epoch == -1:
        raise ConfigError(
            "last_epoch",
            "-1 is PyTorch's way to start at the beginning",
            "write 0, the position of the first update",
        )
    whole("last_epoch", last_epoch, at_least=0)
