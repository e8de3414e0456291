"""The schedule of a job as a picture."""

from runner.records.plots import schedule_figure
from runner.tasks.job import Job
from runner.tasks.timeline import Timeline


def schedule_picture(job: Job, values: Timeline, *, title: str) -> bytes:
    """A PNG of the rate over the run, its momentum where cycled, and the ends of its cycles."""
    return schedule_figure(
        steps=values.steps,
        rates={"lr": values.rates},
        momentum=values.momentum,
        cycle_ends=job.schedule.cycle_ends(job.plan.steps),
        title=title,
    )
