"""No training: what a run would be, its schedule as table and picture, and what to think over."""

from pathlib import Path

import jax

from runner.config import Config
from runner.experiment.build import build_job
from runner.experiment.device import describe_device, select_device, use_compilation_cache
from runner.report.advice import warnings
from runner.report.announce import line, short_path
from runner.report.console import screen
from runner.report.inventory import inventory
from runner.report.plots import comparison_figure, schedule_figure, write_schedule_csv
from runner.tasks.comparing import Policy, compared, policy


def run(config: Config, folder: Path) -> None:
    """Writes ``schedule.csv`` and ``schedule.png`` and prints what the run would be.

    Each scheduler that it is compared with gets a curve and a ``schedule_<option>.csv`` as well.

    Raises:
      RunnerError: whatever would have kept the run from starting.
    """
    console = screen()
    use_compilation_cache(config.compilation_cache)
    device = select_device(config.accelerator)
    line(console, describe_device(device))
    with jax.default_device(device):
        job = build_job(config, device)
        chosen, others = policy(config, job), compared(config, job)
        (folder / "schedule.png").write_bytes(_picture(chosen, others))
        tables = {"schedule.csv": chosen} | {f"schedule_{p.option}.csv": p for p in others}
        for name, of in tables.items():
            write_schedule_csv(folder / name, of.blocks())
        console.print(inventory(chosen, others))
    said = warnings(config, job)
    said += [f"{p.option}: {warning}" for p in others for warning in warnings(p.config, p.job)]
    for warning in said:
        line(console, f"warning: {warning}", style="yellow")
    line(console, f"{short_path(folder)}/{', '.join(tables)}, schedule.png")


def _picture(chosen: Policy, others: list[Policy]) -> bytes:
    if others:
        return comparison_figure({p.option: p.values for p in (chosen, *others)})
    job = chosen.job
    ends = job.schedule.cycle_ends(job.plan.steps)
    return schedule_figure(chosen.values, cycle_ends=ends, title=chosen.option)
