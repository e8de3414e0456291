"""Checks of the schedules' arguments, one by one and against each other.

Each returns None or raises a ``ConfigError`` whose key is the name of the argument. A length that
is still written as one (``"4ep"``, ``"100%"``) is left to whoever resolves it. A rate is a number
or a list of numbers, one for each group of parameters.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

from runner.checks.values import (
    INT32_MAX,
    as_many,
    between,
    flag,
    is_list,
    length,
    one_of,
    ordered,
    positive,
    rates,
    shown,
    whole,
)
from runner.errors import ConfigError, nearest

Mode = Literal["triangular", "triangular2", "exp_range"]
ScaleMode = Literal["cycle", "iterations"]
Anneal = Literal["cos", "linear"]


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
    """Checks the arguments of ``CyclicLR``."""
    _check_bounds(base_lr, max_lr)
    _check_step_sizes(step_size_up, step_size_down)
    one_of("mode", mode, get_args(Mode))
    positive("gamma", gamma)
    one_of("scale_mode", scale_mode, get_args(ScaleMode))
    _check_last_epoch(last_epoch)
    _check_momenta(cycle_momentum, base_momentum, max_momentum)


def check_triangular_lr(
    *,
    base_lr: Any,
    max_lr: Any,
    step_size: Any,
    last_epoch: Any,
    cycle_momentum: Any,
    base_momentum: Any,
    max_momentum: Any,
) -> None:
    """Checks the arguments of ``triangular_lr``."""
    _check_bounds(base_lr, max_lr)
    length("step_size", step_size)
    if not isinstance(step_size, str):
        whole("step_size", step_size, at_least=1, at_most=INT32_MAX // 2)
    _check_last_epoch(last_epoch)
    _check_momenta(cycle_momentum, base_momentum, max_momentum)


def check_one_cycle(
    *,
    max_lr: Any,
    total_steps: Any,
    pct_start: Any,
    anneal_strategy: Any,
    three_phase: Any,
    div_factor: Any,
    final_div_factor: Any,
    cycle_momentum: Any,
    base_momentum: Any,
    max_momentum: Any,
) -> None:
    """Checks the arguments of ``OneCycle``; every phase must have its time."""
    rates("max_lr", max_lr, above=0)
    length("total_steps", total_steps)
    between("pct_start", pct_start, above=0, below=1)
    one_of("anneal_strategy", anneal_strategy, get_args(Anneal))
    flag("three_phase", three_phase)
    between("div_factor", div_factor, at_least=1)
    positive("final_div_factor", final_div_factor)
    if final_div_factor * (1 if three_phase else div_factor) < 1:
        start = "the initial rate, where the last phase starts" if three_phase else "max_lr"
        problem = f"{shown(final_div_factor)} makes the final rate higher than {start}"
        raise ConfigError("final_div_factor", problem, "write a larger one")
    _check_momenta(cycle_momentum, base_momentum, max_momentum)
    if not isinstance(total_steps, str):
        _check_phases(int(total_steps), float(pct_start), three_phase)


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
    _check_bounds(base_lr, max_lr)
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


def _check_bounds(base_lr: Any, max_lr: Any) -> None:
    rates("base_lr", base_lr, at_least=0)
    rates("max_lr", max_lr, above=0)
    as_many(base_lr=base_lr, max_lr=max_lr)
    ordered("base_lr", base_lr, top_key="max_lr", top=max_lr)


def _check_floor(top: Any, eta_min: Any, *, top_key: str) -> None:
    rates(top_key, top, at_least=0)
    rates("eta_min", eta_min, at_least=0)
    as_many(**{top_key: top}, eta_min=eta_min)
    ordered("eta_min", eta_min, top_key=top_key, top=top)


def _check_momenta(cycle_momentum: Any, base_momentum: Any, max_momentum: Any) -> None:
    flag("cycle_momentum", cycle_momentum)
    between("base_momentum", base_momentum, at_least=0, below=1)
    between("max_momentum", max_momentum, at_least=0, below=1)
    ordered("base_momentum", base_momentum, top_key="max_momentum", top=max_momentum)


def _check_step_sizes(up: Any, down: Any) -> None:
    length("step_size_up", up)
    if down is not None:
        length("step_size_down", down)
    if isinstance(up, str) or isinstance(down, str):
        return
    total = int(up) + int(up if down is None else down)
    if total > INT32_MAX:
        problem = f"a cycle of step_size_up + step_size_down = {total} steps is too long"
        raise ConfigError(
            "step_size_up", problem, f"write step sizes that add up to at most {INT32_MAX}"
        )


def _check_phases(total_steps: int, pct_start: float, three_phase: bool) -> None:
    peak, last = pct_start * total_steps - 1, total_steps - 1
    if peak <= 0:
        problem = f"{total_steps} is shorter than the phases: the climb ends at step {peak:.3g}"
        least = math.floor(1 / pct_start) + 1
        raise ConfigError(
            "total_steps",
            problem,
            f"write at least {least}, or pct_start above {1 / total_steps:.3g}",
        )
    if (2 * peak if three_phase else peak) >= last:
        phases = "the climb and the descent take" if three_phase else "the climb takes"
        problem = f"{pct_start} is too much: {phases} all of the {total_steps} steps"
        raise ConfigError("pct_start", problem, "write a smaller share")


def _check_last_epoch(last_epoch: Any) -> None:
    if last_epoch == -1 and not isinstance(last_epoch, bool):
        raise ConfigError(
            "last_epoch",
            "-1 is PyTorch's way to start at the beginning",
            "write 0, the position of the first update",
        )
    whole("last_epoch", last_epoch, at_least=0)
