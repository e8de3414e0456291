"""The schedule of a job as a picture."""

from runner.records.plots import schedule_figure
from runner.tasks.job import Job
from runner.tasks.timeline import Timeline

# Thin lines mark the ends of cycles while there are few enough to be told apart.
MOST_ENDS = 60


def schedule_picture(job: Job, values: Timeline, *, title: str) -> bytes:
    """A PNG of the rate over the run, its momentum where cycled, and the ends of its cycles."""
    ends = job.schedule.cycle_ends(job.plan.steps)
    return schedule_figure(
        steps=values.steps,
        rates={"lr": values.rates},
        momentum=values.momentum,
        cycle_ends=ends if len(ends) <= MOST_ENDS else (),
        title=title,
    )
