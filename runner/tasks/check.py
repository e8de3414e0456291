"""No training: what a run would be, its schedule as a table and a picture, and warnings."""

from pathlib import Path

import jax

from runner.config import Config
from runner.config.choice import comparing
from runner.experiment.build import Experiment, build
from runner.experiment.check import check
from runner.experiment.device import describe_device, select_device, use_compilation_cache
from runner.experiment.timeline import Timeline, compute_timeline
from runner.records.table import write_table
from runner.report.advice import warnings
from runner.report.announce import print_line, print_warnings
from runner.report.console import open_console
from runner.report.inventory import inventory
from runner.report.plots import comparison_figure, schedule_figure
from runner.report.text import short_path


def run(config: Config, folder: Path) -> None:
    """Writes ``schedule.csv`` and ``schedule.png`` and prints what the run would be.

    Each scheduler of ``task.compare`` adds a curve and a ``schedule_<option>.csv``.

    Raises:
      RunnerError: whatever would have kept the run from starting.
    """
    console = open_console()
    use_compilation_cache(config.compilation_cache)
    device = select_device(config.accelerator)
    print_line(console, describe_device(device))
    with jax.default_device(device):
        experiment = build(config, device)
        check(experiment)
        timeline, compared = compute_timeline(experiment), _compared(experiment)
        (folder / "schedule.png").write_bytes(_picture(timeline, compared))
        names = _write_tables(folder, timeline, compared)
        console.print(inventory(timeline, compared))
    print_warnings(console, _warnings(timeline, compared))
    print_line(console, f"{short_path(folder)}/{', '.join(names)}, schedule.png")


def _compared(experiment: Experiment) -> list[Timeline]:
    timelines = []
    for scheduler in experiment.config.compared:
        with comparing(scheduler.option):
            other = experiment.under(scheduler)
            check(other)
            timelines.append(compute_timeline(other))
    return timelines


def _picture(timeline: Timeline, compared: list[Timeline]) -> bytes:
    if compared:
        return comparison_figure({_option(t): t.sample for t in (timeline, *compared)})
    experiment = timeline.experiment
    ends = experiment.schedule.cycle_ends(experiment.lengths.steps)
    return schedule_figure(timeline.sample, cycle_ends=ends, title=_option(timeline))


def _write_tables(folder: Path, timeline: Timeline, compared: list[Timeline]) -> list[str]:
    tables = {"schedule.csv": timeline} | {f"schedule_{_option(t)}.csv": t for t in compared}
    for name, written in tables.items():
        write_table(folder / name, (block.columns() for block in written.blocks()))
    return list(tables)


def _warnings(timeline: Timeline, compared: list[Timeline]) -> list[str]:
    others = [f"{_option(t)}: {line}" for t in compared for line in warnings(t.experiment)]
    return warnings(timeline.experiment) + others


def _option(timeline: Timeline) -> str:
    return timeline.experiment.config.scheduler.option
