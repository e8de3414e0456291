"""Builds the schedule of a chosen scheduler: resolves its lengths, builds its nested parts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runner import registry
from runner.config import Choice
from runner.config.by_name import Parts
from runner.config.lengths import resolve_length
from runner.config.markers import Marker
from runner.config.signature import Settings, markers
from runner.errors import ConfigError, type_name
from runner.schedules.base import Schedule
from runner.schedules.function import as_schedule


@dataclass(frozen=True)
class Clock:
    """Converts lengths to steps: ``4ep`` by the size of an epoch, ``25%`` by the total."""

    steps_per_epoch: int
    total_steps: int

    def to_steps(self, value: Any, key: str, at_least: int = 1) -> int:
        """A length in steps; ConfigError with ``key`` if it is out of range."""
        return resolve_length(
            value,
            key=key,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            at_least=at_least,
        )


def build_schedule(scheduler: Choice, clock: Clock, *, key: str = "scheduler") -> Schedule:
    """Builds the schedule of a run; ``key`` is the config key of its settings.

    Raises:
      ConfigError: an argument is wrong, or the parts are longer than the run.
    """
    return _build(in_steps(scheduler, clock, key=key), key)


def in_steps(scheduler: Choice, clock: Clock, *, key: str = "scheduler") -> Choice:
    """The scheduler with its lengths, and those of its parts, in steps.

    A part of a sequence has its own clock, whose total is the length of the part.

    Raises:
      ConfigError: a length is out of range, or the parts are longer than the run.
    """
    factory = registry.schedulers.get(scheduler.name)
    settings = dict(scheduler.settings)
    for name, marker in markers(factory, Marker).items():
        if settings[name] is not None:
            settings[name] = marker.resolved(settings[name], f"{key}.{name}", clock.to_steps)
    for name, marker in markers(factory, Parts).items():
        lengths = {} if marker.lengths is None else settings[marker.lengths]
        clocks = _clocks(settings[name], lengths, clock, f"{key}.{marker.lengths}")
        settings[name] = {
            part: in_steps(choice, clocks[part], key=f"{key}.{name}.{part}")
            for part, choice in settings[name].items()
        }
    return replace(scheduler, settings=Settings(**settings))


def _build(scheduler: Choice, key: str) -> Schedule:
    arguments = dict(scheduler.settings)
    for name in markers(registry.schedulers.get(scheduler.name), Parts):
        arguments[name] = {
            part: _build_part(choice, f"{key}.{name}.{part}")
            for part, choice in arguments[name].items()
        }
    schedule = registry.schedulers.build(scheduler.name, arguments, key=key)
    return _check_schedule(schedule, scheduler.name)


def _build_part(scheduler: Choice, key: str) -> Schedule:
    part = _build(scheduler, key)
    if part.plateau is not None:
        problem = f"{scheduler.name} depends on evaluations, so it cannot be a part"
        raise ConfigError(key, problem, "choose it as the scheduler, or another part")
    return part


def _clocks(
    parts: Mapping[str, Choice], lengths: Mapping[str, int | None], clock: Clock, key: str
) -> dict[str, Clock]:
    """The clock of each part: ``clock``, or one whose total is the length of the part."""
    if not lengths:
        return dict.fromkeys(parts, clock)
    known = sum(length for length in lengths.values() if length is not None)
    left = clock.total_steps - known
    if left < (1 if None in lengths.values() else 0):
        which = "the parts before the last" if None in lengths.values() else "the parts"
        problem = f"{which} take {known} steps, but only {clock.total_steps} are available"
        raise ConfigError(key, problem, "write shorter lengths, or a longer run")
    return {part: Clock(clock.steps_per_epoch, lengths.get(part) or left or 1) for part in parts}


def _check_schedule(value: Any, name: str) -> Schedule:
    """``value`` as a schedule; ConfigError unless it is one, or a function of the step."""
    schedule = as_schedule(value)
    if not isinstance(schedule, Schedule):
        problem = f"is {type_name(value)}, not a schedule"
        remedy = "return a runner.schedules.Schedule such as CyclicLR, or a function of the step"
        raise ConfigError(f"scheduler {name}", problem, remedy)
    return schedule
