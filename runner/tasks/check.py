"""Describes a run without training: its schedule as a table and a plot, its parts, and warnings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from etils import epy

from runner.config import Choice, Config
from runner.config.markers import OptionsOf
from runner.config.settings import composing
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    import jax

    from runner.experiment import build, device, timeline
    from runner.experiment import check as fit
    from runner.records import table
    from runner.report import advice, announce, inventory, plots, text

if TYPE_CHECKING:
    from runner.experiment.timeline import Timeline


@register_task("check")
def check(
    config: Config,
    folder: Path,
    ending: Ending,
    *,
    compare: Annotated[tuple[Choice, ...], OptionsOf("scheduler")] = (),
) -> None:
    """Writes ``schedule.csv`` and ``schedule.png``, and prints a description of the run.

    The table has a row for every step of a run of at most a million steps, and a sample of the
    steps of a longer one (``timeline.sampled_steps``).
    Each scheduler of ``task.compare`` adds a curve and a ``schedule_<option>.csv``.

    Raises:
      RunnerError: the run could not start.
    """
    chosen = device.prepare_device(config)
    screen = announce.open_screen(chosen)
    with jax.default_device(chosen):
        experiment = build.build(config, chosen)
        fit.check(experiment)
        own = timeline.compute_timeline(experiment)
        compared = [_compared(experiment, scheduler) for scheduler in compare]
        table.write_picture(folder / "schedule.png", _picture(own, compared))
        names = _write_tables(folder, own, compared)
        screen.print(inventory.inventory(own, compared))
    if config.auto is not None:
        policy = config.auto.settings.policy
        line = f"shown with the default rates of {policy}; training starts with a range test"
        announce.print_line(screen, line)
    announce.print_warnings(screen, _warnings(own, compared))
    announce.print_line(screen, f"{text.short_path(folder)}/{', '.join(names)}, schedule.png")
    if (rows := len(own.sample.steps)) < experiment.lengths.steps:
        announce.print_line(screen, _sampled(rows, experiment.lengths.steps))


def _compared(experiment: build.Experiment, scheduler: Choice) -> Timeline:
    with composing(scheduler.option):
        other = experiment.under(scheduler)
        fit.check(other)
        return timeline.compute_timeline(other)


def _picture(own: Timeline, compared: list[Timeline]) -> bytes:
    if compared:
        return plots.comparison_figure({_option(t): t.sample for t in (own, *compared)})
    experiment = own.experiment
    ends = experiment.schedule.cycle_ends(experiment.lengths.steps)
    return plots.schedule_figure(own.sample, cycle_ends=ends, title=_option(own))


def _write_tables(folder: Path, own: Timeline, compared: list[Timeline]) -> list[str]:
    tables = {"schedule.csv": own} | {f"schedule_{_option(t)}.csv": t for t in compared}
    for name, written in tables.items():
        table.write_table(folder / name, [written.sample.columns()])
    return list(tables)


def _sampled(rows: int, steps: int) -> str:
    return (
        f"the table has {rows:,} of the {steps:,} steps: the first and last, cycle ends, phase "
        "changes and steps spread over the run"
    )


def _warnings(own: Timeline, compared: list[Timeline]) -> list[str]:
    others = [f"{_option(t)}: {line}" for t in compared for line in advice.warnings(t.experiment)]
    return advice.warnings(own.experiment) + others


def _option(own: Timeline) -> str:
    return own.experiment.config.scheduler.option
