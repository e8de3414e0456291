"""From the configured scheduler to the schedule: lengths become steps, parts become one."""

from collections.abc import Mapping
from typing import Any

import jax

from runner import registry
from runner.config import Choice
from runner.errors import ConfigError, kind
from runner.lengths import is_length, resolve_length
from runner.schedules import Schedule


def build_schedule(
    scheduler: Choice, *, steps_per_epoch: int, total_steps: int, key: str = "scheduler"
) -> Schedule:
    """The schedule of a run of ``total_steps``; ``key`` is where its settings stand.

    Within a part of a sequence, whose run is that part, a share (``25%``) is of its length.

    Raises:
      ConfigError: an argument is wrong, or a sequence is longer than the run.
    """

    def in_steps(value: Any, key: str) -> Any:
        """``value``, or each item of a list, in steps if it is written with a unit of length."""
        if isinstance(value, tuple):
            return tuple(in_steps(item, f"{key}[{place}]") for place, item in enumerate(value))
        if not (isinstance(value, str) and is_length(value)):
            return value
        return resolve_length(
            value, key=key, steps_per_epoch=steps_per_epoch, total_steps=total_steps
        )

    if scheduler.name != "sequence":
        arguments = {
            name: in_steps(value, f"{key}.{name}") for name, value in scheduler.arguments.items()
        }
        schedule = registry.schedulers.build(scheduler.name, arguments, key=key)
        return _check_schedule(schedule, scheduler.name)
    parts: Mapping[str, Choice] = scheduler.arguments["parts"]
    written = scheduler.arguments["lengths"]
    lengths = {name: in_steps(written[name], f"{key}.lengths.{name}") for name in parts}
    left = _left(lengths, total_steps, key=f"{key}.lengths")
    schedules = {
        name: build_schedule(
            part,
            steps_per_epoch=steps_per_epoch,
            total_steps=left if lengths[name] is None else lengths[name],
            key=f"{key}.parts.{name}",
        )
        for name, part in parts.items()
    }
    return registry.schedulers.build("sequence", {"parts": schedules, "lengths": lengths}, key=key)


def _left(lengths: Mapping[str, int | None], total_steps: int, *, key: str) -> int:
    """What the lengths leave of the run, for a last part without one."""
    known = sum(length for length in lengths.values() if length is not None)
    left = total_steps - known
    if left < (1 if None in lengths.values() else 0):
        parts = "the parts before the last" if None in lengths.values() else "the parts"
        problem = f"{parts} come to {known} steps, but there are {total_steps}"
        raise ConfigError(key, problem, "write shorter lengths, or a longer run")
    return left


def _check_schedule(schedule: Any, name: str) -> Schedule:
    """Raises ConfigError unless the factory ``name`` has returned a schedule that is a pytree."""
    if not isinstance(schedule, Schedule):
        raise ConfigError(
            f"scheduler {name}",
            f"is {kind(schedule)}, not a schedule with momentum(), cycle() and cycle_ends()",
            "return a runner.schedules.Schedule, such as CyclicLR",
        )
    if jax.tree.structure(schedule) == jax.tree.structure(0):
        raise ConfigError(
            f"scheduler {name}",
            f"is {kind(schedule)}, which is no pytree",
            "register it with jax, as runner.schedules.Schedule says",
        )
    return schedule
