"""Checks of the schedules' arguments, one by one and against each other.

Each returns None or raises a ``ConfigError`` whose key is the name of the argument. A length that
is still written as one (``"4ep"``, ``"100%"``) is left to whoever resolves it. A rate is a number
or a list of numbers, one for each group of parameters.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from runner.checks.cycles import check_bounds
from runner.checks.values import (
    INT32_MAX,
    as_many,
    between,
    flag,
    is_list,
    length,
    ordered,
    positive,
    rates,
    shown,
    whole,
)
from runner.errors import ConfigError, nearest


def check_constant(*, base_lr: Any) -> None:
    """Checks the argument of ``Constant``."""
    rates("base_lr", base_lr, at_least=0)


def check_cosine(*, base_lr: Any, T_max: Any, eta_min: Any, periodic: Any) -> None:
    """Checks the arguments of ``Cosine``."""
    _check_floor(base_lr, eta_min, top_key="base_lr")
    length("T_max", T_max)
    flag("periodic", periodic)


def check_cosine_restarts(*, base_lr: Any, T_0: Any, T_mult: Any, eta_min: Any) -> None:
    """Checks the arguments of ``CosineRestarts``."""
    _check_floor(base_lr, eta_min, top_key="base_lr")
    length("T_0", T_0)
    whole("T_mult", T_mult, at_least=1)


def check_warmup_cosine(
    *, base_lr: Any, max_lr: Any, warmup_steps: Any, total_steps: Any, eta_min: Any
) -> None:
    """Checks the arguments of ``WarmupCosine``."""
    check_bounds(base_lr, max_lr)
    _check_floor(max_lr, eta_min, top_key="max_lr")
    as_many(base_lr=base_lr, max_lr=max_lr, eta_min=eta_min)
    length("warmup_steps", warmup_steps)
    length("total_steps", total_steps)
    written = isinstance(warmup_steps, str) or isinstance(total_steps, str)
    if not written and warmup_steps >= total_steps:
        problem = f"{warmup_steps} leaves nothing of total_steps ({total_steps}) for the descent"
        raise ConfigError("warmup_steps", problem, "write warmup_steps below total_steps")


def check_linear(*, base_lr: Any, start_factor: Any, end_factor: Any, total_iters: Any) -> None:
    """Checks the arguments of ``Linear``."""
    rates("base_lr", base_lr, at_least=0)
    between("start_factor", start_factor, at_least=0, at_most=1)
    between("end_factor", end_factor, at_least=0, at_most=1)
    length("total_iters", total_iters)


def check_polynomial(*, base_lr: Any, total_iters: Any, power: Any) -> None:
    """Checks the arguments of ``Polynomial``."""
    rates("base_lr", base_lr, at_least=0)
    length("total_iters", total_iters)
    positive("power", power)


def check_exponential(*, base_lr: Any, gamma: Any) -> None:
    """Checks the arguments of ``Exponential``."""
    rates("base_lr", base_lr, at_least=0)
    positive("gamma", gamma)


def check_step(*, base_lr: Any, step_size: Any, gamma: Any) -> None:
    """Checks the arguments of ``Step``."""
    check_exponential(base_lr=base_lr, gamma=gamma)
    length("step_size", step_size)


def check_multistep(*, base_lr: Any, milestones: Any, gamma: Any) -> None:
    """Checks the arguments of ``MultiStep``; milestones rise."""
    check_exponential(base_lr=base_lr, gamma=gamma)
    if not is_list(milestones) or not milestones:
        problem = f"{shown(milestones)} is not a list of lengths"
        raise ConfigError("milestones", problem, "write one such as [500,800] or [50%,75%]")
    for place, milestone in enumerate(milestones):
        length(f"milestones[{place}]", milestone)
    known = not any(isinstance(milestone, str) for milestone in milestones)
    for earlier, later in pairwise(milestones) if known else ():
        if earlier >= later:
            problem = f"{later} does not come after {earlier}"
            raise ConfigError("milestones", problem, "write rising lengths, each once")


def check_sequence(*, parts: Any, lengths: Any) -> None:
    """Checks the arguments of ``Sequence``; parts and lengths have the same names.

    The length of the last part, and only that, may be None.
    """
    for key, value in (("parts", parts), ("lengths", lengths)):
        if not isinstance(value, Mapping) or not value:
            problem = f"{shown(value)} is not a mapping from the names of the parts"
            raise ConfigError(key, problem, f"write {key} by name")
    for name in lengths:
        if name not in parts:
            raise ConfigError(f"lengths.{name}", "there is no such part", nearest(name, parts))
    *_, last = parts
    for name in parts:
        if name not in lengths:
            raise ConfigError(f"lengths.{name}", "has no value", "give the part a length")
        if lengths[name] is not None:
            length(f"lengths.{name}", lengths[name])
        elif name != last:
            problem = f"is null, which only the length of the last part ({last}) may be"
            raise ConfigError(f"lengths.{name}", problem, "give the part a length")
    check_total([lengths[name] for name in parts])


def check_total(lengths: Sequence[Any]) -> None:
    """The lengths of a sequence that are known already end where steps do."""
    total = sum(length for length in lengths if length is not None and not isinstance(length, str))
    if total > INT32_MAX:
        raise ConfigError("lengths", f"come to {total} steps", f"write at most {INT32_MAX} in all")


def _check_floor(top: Any, eta_min: Any, *, top_key: str) -> None:
    rates(top_key, top, at_least=0)
    rates("eta_min", eta_min, at_least=0)
    as_many(**{top_key: top}, eta_min=eta_min)
    ordered("eta_min", eta_min, top_key=top_key, top=top)
