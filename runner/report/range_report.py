"""Prints the results of a range test: the rules, the answer with its reasons, and commands."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.config import Choice, Ranking
from runner.experiment.build import Experiment
from runner.experiment.range_test import RangeTest, RangeTestSettings, lengths_of_test
from runner.ranges import Answer, Curve, NoAnswer, table
from runner.report.announce import print_line, rate_texts
from runner.report.text import counted, metric_value, number

_NONE = "–"
# Overrides that a command with another scheduler leaves out.
_REPLACED = ("task", "scheduler", "hydra")


def print_rules(console: Console, curves: Sequence[Curve], answer: Answer | NoAnswer) -> None:
    """Prints the rate that each rule finds, and the bounds, with their spread over the seeds."""
    shown = _table("rule", "rate", "lowest", "highest")
    for row in table(curves):
        shown.add_row(row.rule, *(_rate(rate) for rate in (row.median, row.low, row.high)))
    if isinstance(answer, Answer):
        bounds = {
            "base_lr": (answer.base_lr, answer.base_lr_spread),
            "max_lr": (answer.max_lr, answer.max_lr_spread),
        }
        for name, (rate, spread) in bounds.items():
            row = (name, *map(_rate, (rate, spread.low, spread.high)))
            shown.add_row(*(Text(text, style="bold") for text in row))
    console.print(shown)


def print_scores(console: Console, test: RangeTest, ranking: Ranking) -> None:
    """Prints the scores of the short runs that verified the answer."""
    if not test.scores or isinstance(test.found, NoAnswer):
        return
    shown = _table("verified max_lr", ranking.metric)
    for multiple, scores in sorted(test.scores.items()):
        texts = [metric_value(ranking.metric, score) for score in scores]
        texts = ["diverged" if "inf" in text or "nan" in text else text for text in texts]
        shown.add_row(f"{number(multiple * test.found.max_lr)} (× {multiple:g})", ", ".join(texts))
    console.print(shown)


def print_values(
    console: Console, curves: Mapping[Any, Sequence[Curve]], answers: Mapping[Any, Any], over: str
) -> None:
    """Prints the lowest smoothed loss and the bounds for each value of the setting ``over``."""
    shown = _table(over, "lowest loss", "base_lr", "max_lr")
    for value, group in curves.items():
        lowest = sum(float(curve.smoothed.min()) for curve in group) / len(group)
        answer = answers[value]
        is_found = isinstance(answer, Answer)
        bounds = [_rate(answer.base_lr), _rate(answer.max_lr)] if is_found else [_NONE, _NONE]
        shown.add_row(f"{value:g}", f"{lowest:.4g}", *bounds)
    console.print(shown)


def answer_line(scheduler: Choice, answer: Answer) -> str:
    """``range test: base_lr 0.021, max_lr 0.34 (0.25 to 0.47 over seeds), step_size_up 110``."""
    spread = answer.max_lr_spread
    lengths = [
        f"{name} {getattr(scheduler.settings, name)}"
        for name in ("step_size_up", "step_size", "step_size_down")
        if getattr(scheduler.settings, name, None) is not None
    ]
    found = ", ".join([*rate_texts(scheduler), *lengths])
    return f"range test: {found} (max_lr {spread.low:.3g} to {spread.high:.3g} over seeds)"


def test_line(experiment: Experiment, settings: RangeTestSettings) -> str:
    """``range test: 3 seeds of 100 updates at rates from 1e-07 to 10``."""
    points = lengths_of_test(experiment, settings).points
    seeds = counted(settings.seeds, "seed")
    bounds = f"{settings.start_lr:g} to {settings.end_lr:g}"
    return f"range test: {seeds} of {points:,} updates at rates from {bounds}"


def print_reasons(console: Console, answer: Answer | NoAnswer) -> None:
    """Prints the reasons for the bounds, or why there are none and what to do."""
    if isinstance(answer, NoAnswer):
        print_line(console, f"no suggestion: {answer}", style="yellow")
        return
    for reason in answer.reasons:
        print_line(console, f"  {reason}")


def commands(
    folder: Path, overrides: Sequence[str], *, changes: Sequence[str], searched: Sequence[str]
) -> list[str]:
    """The commands that use the suggested option: one that trains, and one that shows it.

    Args:
      overrides: of the range test.
      changes: overrides that turn the scheduler of the range test into the suggested one. They are
        needed if a recipe is used, whose settings would replace those of the option.
      searched: the folders of the user's own options, quoted as in an override.
    """
    kept = [line for line in overrides if _group(line) not in _REPLACED]
    if any(_group(line) == "experiment" for line in overrides):
        kept += changes
    if searched:
        kept.append(f"hydra.searchpath=[{','.join(searched)}]")
    words = ["python", "-m", "runner", "--config-dir", str(folder), "scheduler=suggested"]
    return [shlex.join([*words, *kept]), shlex.join([*words, "task=check", *kept])]


def _group(line: str) -> str:
    return line.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]


def _table(*headers: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for index, header in enumerate(headers):
        shown.add_column(header, justify="right" if index else "left", no_wrap=True)
    return shown


def _rate(rate: float | None) -> str:
    return _NONE if rate is None else f"{rate:.3g}"
