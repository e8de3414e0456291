"""The schedulers that ``task.compare`` names, each in the place of the one that was chosen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from runner.config import Config
from runner.config.choice import comparing
from runner.experiment.build import Job, with_scheduler
from runner.experiment.timeline import blocks, outline, rate_ranges
from runner.report.plots import ScheduleValues


@dataclass(frozen=True, eq=False)
class Policy:
    """A scheduler under which the run might be made.

    Attributes:
      config, job: of the run under it.
      values: for a picture.
      ranges: the lowest and the highest rate, by name.
    """

    config: Config
    job: Job
    values: ScheduleValues
    ranges: Mapping[str, tuple[float, float]]

    @property
    def option(self) -> str:
        return self.config.scheduler.option

    def blocks(self) -> Iterable[ScheduleValues]:
        """The schedule at every step: what the picture shows, where that leaves none out."""
        return _blocks(self.job, self.values)


def policy(config: Config, job: Job) -> Policy:
    """The one that was chosen.

    Raises:
      ConfigError: a rate is not finite, or below zero.
    """
    values = outline(job)
    return Policy(config, job, values, rate_ranges(_blocks(job, values)))


def compared(config: Config, job: Job) -> list[Policy]:
    """Those that it is compared with.

    Raises:
      ConfigError: one is wrong, or does not fit the run; it is named.
    """
    found = []
    for scheduler in config.compared:
        other = replace(config, scheduler=scheduler)
        with comparing(scheduler.option):
            found.append(policy(other, with_scheduler(job, other)))
    return found


def _blocks(job: Job, values: ScheduleValues) -> Iterable[ScheduleValues]:
    return [values] if len(values.steps) == job.plan.steps else blocks(job)
