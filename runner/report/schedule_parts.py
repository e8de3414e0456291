"""A schedule and all parts within it, each with its key, its settings and its length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from runner.config import Choice
from runner.config.by_name import Parts
from runner.config.signature import markers
from runner.registry import schedulers
from runner.schedules import Schedule, Sequence


@dataclass(frozen=True)
class Part:
    """A schedule within the schedule of a run, or that schedule itself.

    Attributes:
      key: of its settings.
      steps: updates that it is used for.
      has_successor: whether another part of a sequence follows it.
    """

    key: str
    choice: Choice
    schedule: Schedule
    steps: int
    has_successor: bool = False


def all_parts(
    scheduler: Choice, schedule: Schedule, steps: int, key: str = "scheduler"
) -> Iterator[Part]:
    """The schedule of a run of ``steps`` updates, and all parts within it."""
    yield from _within(Part(key, scheduler, schedule, steps))


def direct_parts(part: Part) -> list[Part]:
    """The parts of which ``part`` consists, in order; empty for most schedules."""
    found = []
    for name in markers(schedulers.get(part.choice.name), Parts):
        choices = getattr(part.choice.settings, name)
        schedules = getattr(part.schedule, name)
        lengths, succeeded = [part.steps] * len(schedules), [False] * len(schedules)
        if isinstance(part.schedule, Sequence):
            starts = [min(int(start), part.steps) for start in part.schedule.starts]
            lengths = [end - start for start, end in pairwise([*starts, part.steps])]
            succeeded = [start < part.steps or part.has_successor for start in starts[1:]]
            succeeded.append(part.has_successor)
        keys = [f"{part.key}.{name}.{inner}" for inner in choices]
        fields = keys, choices.values(), schedules, lengths, succeeded
        found += [Part(*values) for values in zip(*fields, strict=True)]
    return found


def _within(part: Part) -> Iterator[Part]:
    yield part
    for inner in direct_parts(part):
        yield from _within(inner)
