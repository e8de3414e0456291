"""Checks of the arguments of schedules that have cycles; see ``schedules`` for what all promise."""

import math
from typing import Any, Literal, get_args

from runner.checks.values import (
    INT32_MAX,
    as_many,
    between,
    flag,
    length,
    one_of,
    ordered,
    positive,
    rates,
    shown,
    whole,
)
from runner.errors import ConfigError

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
    check_bounds(base_lr, max_lr)
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
    check_bounds(base_lr, max_lr)
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


def check_bounds(base_lr: Any, max_lr: Any) -> None:
    """Checks the rates at the joints of cycles and at their peaks."""
    rates("base_lr", base_lr, at_least=0)
    rates("max_lr", max_lr, above=0)
    as_many(base_lr=base_lr, max_lr=max_lr)
    ordered("base_lr", base_lr, top_key="max_lr", top=max_lr)


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
        higher = f", or pct_start above {1 / total_steps:.3g}" if total_steps > 1 else ""
        raise ConfigError("total_steps", problem, f"write at least {least}{higher}")
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
