"""What a person reads before and after a run: a few lines on the terminal."""

import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from runner.config import Config
from runner.experiment.build import Job
from runner.report.advice import warnings
from runner.training.tags import EVAL_ACCURACY, EVAL_LOSS

# A final accuracy so far below the best is no noise of the last updates.
LOST_ACCURACY = 0.05


def announce(console: Console, config: Config, job: Job, *, params: int) -> None:
    """Names what is about to run, then what to think over about it."""
    steps, epochs = job.plan.steps, _plain(job.plan.steps / job.length.steps_per_epoch)
    train, test = len(job.dataset.train), len(job.dataset.test)
    line(console, f"{config.model.option} · {params:,} parameters")
    line(console, f"{config.dataset.option} · {train:,} training and {test:,} test examples")
    per_epoch, training = job.length.steps_per_epoch, config.training
    batches = f"{per_epoch} batches of {training.batch_size}"
    if training.accumulate > 1:
        batches = f"{per_epoch} steps of {training.accumulate} batches of {training.batch_size}"
    line(
        console,
        f"{config.scheduler.option} · {config.optimizer.option} · {steps:,} steps "
        f"({epochs} epochs of {batches})",
    )
    for warning in warnings(config, job):
        line(console, f"warning: {warning}", style="yellow")


def conclude(console: Console, summary: dict, folder: Path) -> None:
    """The result and where it lies."""
    metrics, best = summary["metrics"], summary["best"]
    accuracy, loss = metrics[EVAL_ACCURACY], metrics[EVAL_LOSS]
    line(
        console,
        f"test accuracy {accuracy:.2%} · test loss {loss:.4f} · best {best['value']:.2%} "
        f"at step {best['step']:,}",
        style="bold",
    )
    if accuracy < best["value"] - LOST_ACCURACY:
        lost = "warning: it ended far below its best; lower scheduler.max_lr, or train longer"
        line(console, lost, style="yellow")
    speed, seconds = summary["steps_per_second"], summary["seconds"]["total"]
    pace = f"{speed:,.0f} steps/s · " if speed else ""
    line(console, f"{pace}{seconds:.1f} s · {short_path(folder)}")


def line(console: Console, text: str, style: str = "") -> None:
    """One line as it is: no markup, no wrapping, no colours but the style."""
    console.print(Text(text, style=style), soft_wrap=True)


def short_path(folder: Path) -> str:
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


def _plain(number: float) -> str:
    """``2.7``, ``40``, ``4,000``."""
    return f"{number:,.1f}".removesuffix(".0")
