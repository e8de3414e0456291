"""The lines that are printed before and after a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.text import Text

from runner.config import Choice
from runner.config.by_name import Parts, PerGroup
from runner.config.markers import Series
from runner.config.signature import markers
from runner.data.dataset import Dataset
from runner.errors import printable
from runner.experiment.build import Experiment
from runner.experiment.device import describe_device
from runner.registry import rate_scale_of, schedulers
from runner.report.advice import warnings
from runner.report.console import open_console
from runner.report.text import counted, metric_value, pace, short_path
from runner.training.tags import PREFIXES

# A final accuracy this far below the best one is more than the noise of the last updates.
LOST_ACCURACY = 0.05
_TEST = f"{PREFIXES['test']}/"


def open_screen(device: jax.Device) -> Console:
    """The console of a task; prints the device there."""
    screen = open_console()
    print_line(screen, describe_device(device))
    return screen


def announce(console: Console, experiment: Experiment, *, params: int) -> None:
    """Prints what is about to run, and warnings; ``params`` is the number of parameters."""
    config, dataset = experiment.config, experiment.dataset
    print_line(console, f"{config.model.option} · {params:,} parameters")
    print_line(console, f"{config.dataset.option} · {examples_of(dataset)}")
    if dataset.validation is None:
        print_line(console, "no validation examples: evaluations use the test examples")
    print_line(console, _schedule_line(experiment))
    if config.auto is None and (scale := rate_scale_of(config.optimizer.name)) != 1:
        rates = ", ".join(rate_texts(config.scheduler))
        name = config.optimizer.option
        print_line(console, f"default rates are × {scale:g} for {name}; this run: {rates}")
    print_warnings(console, warnings(experiment))


def conclude(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """Prints the result of a finished run and its folder."""
    metrics, best = summary["metrics"], summary["best"]
    # Metrics of single classes have longer tags.
    found = {tag: v for tag, v in metrics.items() if tag.startswith(_TEST) and tag.count("/") == 1}
    shown = [f"{tag.replace('/', ' ')} {metric_value(tag, value)}" for tag, value in found.items()]
    if best is not None:  # else the run was resumed beyond its new length, without an evaluation
        tag, value = best["metric"], metric_value(best["metric"], best["value"])
        shown.append(f"best {tag.replace('/', ' ')} {value} at step {best['step']:,}")
    if shown:
        print_line(console, " · ".join(shown), style="bold")
    if best is not None and has_lost_accuracy(metrics, best):
        print_warnings(
            console,
            ["the last accuracy is far below the best; lower scheduler.max_lr, or train longer"],
        )
    speed, seconds = summary["steps_per_second"], summary["seconds"]["total"]
    shown = [pace(speed)] if speed else []
    print_line(console, " · ".join([*shown, f"{seconds:.1f} s", short_path(folder)]))


def has_lost_accuracy(metrics: dict[str, float], best: dict[str, Any]) -> bool:
    """Whether a run is ranked by an accuracy, and its last one is far below the best."""
    metric, value = best["metric"], best["value"]
    return "accuracy" in metric and metrics[metric] < value - LOST_ACCURACY


def examples_of(dataset: Dataset) -> str:
    """``1,437 training, 180 validation and 180 test examples``."""
    names = {"train": "training", "validation": "validation", "test": "test"}
    *first, last = (f"{len(split):,} {names[name]}" for name, split in dataset.splits.items())
    return f"{', '.join(first)} and {last} examples"


def print_warnings(console: Console, warnings: Iterable[str]) -> None:
    """Prints a line for each warning."""
    for warning in warnings:
        print_line(console, f"warning: {warning}", style="yellow")


def print_line(console: Console, text: str, style: str = "") -> None:
    """Prints one line without markup, control characters or colours other than ``style``.

    On a terminal, which would break it anywhere, it is wrapped between words; elsewhere it is not
    wrapped.
    """
    console.print(Text(printable(text), style=style), soft_wrap=not console.is_terminal)


def print_command(console: Console, command: str) -> None:
    """Prints a command in one line, to be copied, however narrow the terminal is."""
    console.print(Text(printable(command)), soft_wrap=True)


def rate_texts(scheduler: Choice, prefix: str = "") -> list[str]:
    """``max_lr 0.002`` for every rate above 0 of a scheduler and its parts."""
    factory, found = schedulers.get(scheduler.name), []
    for name in [*markers(factory, PerGroup), *markers(factory, Series)]:
        values = np.ravel(getattr(scheduler.settings, name))
        if values.dtype.kind == "f" and values.any():
            found.append(f"{prefix}{name} {', '.join(f'{value:g}' for value in values)}")
    for name in markers(factory, Parts):
        for part, choice in getattr(scheduler.settings, name).items():
            found += rate_texts(choice, f"{part}.")
    return found


def _schedule_line(experiment: Experiment) -> str:
    """``triangular · sgd · 880 steps (40 epochs of 22 batches of 64)``."""
    config, training = experiment.config, experiment.config.training
    steps, steps_per_epoch = experiment.lengths.steps, experiment.lengths.steps_per_epoch
    batches = f"{counted(steps_per_epoch, 'batch', plural='batches')} of {training.batch_size}"
    if training.accumulate > 1:
        microbatches = f"{training.accumulate} batches of {training.batch_size}"
        batches = f"{counted(steps_per_epoch, 'step')} of {microbatches}"
    return (
        f"{config.scheduler.option} · {config.optimizer.option} · {counted(steps, 'step')} "
        f"({counted(steps / steps_per_epoch, 'epoch')} of {batches})"
    )
