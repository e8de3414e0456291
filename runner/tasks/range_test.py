"""Finds learning rates by a range test; writes a plot, the answer and a scheduler that uses it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from etils import epy

from runner.config import Choice, Config
from runner.config.markers import InSteps, Number
from runner.config.types import Count, Decay, Positive, StepsFromZero
from runner.errors import ConfigError
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    import jax
    import numpy as np

    from runner import ranges
    from runner.experiment import build, check, device, range_choice, range_values
    from runner.experiment import range_test as lr_range
    from runner.records import events, range_record, run_folder, table
    from runner.report import announce, range_figure, range_report, text

if TYPE_CHECKING:
    from rich.console import Console

    from runner.experiment.range_test import RangeTest, RangeTestSettings
    from runner.ranges import Answer


@register_task("range_test")
def range_test(  # noqa: PLR0913 - one for each setting
    config: Config,
    folder: Path,
    ending: Ending,
    *,
    start_lr: Positive = 1e-7,
    end_lr: Positive = 10.0,
    steps: Annotated[int, InSteps(10)] | None = None,
    spacing: Literal["exponential", "linear"] = "exponential",
    seeds: Count = 3,
    smoothing: Decay | None = None,
    warmup: StepsFromZero = 0,
    verify: bool = True,
    over: str | None = None,
    values: tuple[Annotated[float, Number()], ...] = (),
) -> None:
    """Writes ``range_test.csv``, ``.png`` and ``.json``, and ``scheduler/suggested.yaml``.

    If the curves support no answer, the reason is printed and no scheduler is written. With
    ``over``, the loss curves of ``values`` of that setting are compared, and no rates are
    suggested.

    Raises:
      RunnerError: a setting is wrong, or the run could not start.
    """
    if config.resume is not None or config.init_from is not None:
        key = "resume" if config.resume is not None else "init_from"
        problem = "a range test starts from new parameters"
        raise ConfigError(key, problem, "leave it out")
    if over is None and values:
        problem = "there are values, but no setting that has them"
        raise ConfigError("task.over", problem, "name one, such as task.over=weight_decay")
    settings = settings_of(config.task)
    chosen = device.prepare_device(config)
    screen = announce.open_screen(chosen)
    with jax.default_device(chosen):
        experiment = build.build(config, chosen)
        check.check(experiment)
        if over is None:
            test = run_test(experiment, settings)
            scheduler = write_test(experiment, settings, test, folder)
            _print_found(screen, test, scheduler, config)
            if scheduler is not None:
                commands = range_report.commands(
                    folder,
                    ending.overrides,
                    changes=range_choice.changes(config.scheduler, scheduler),
                    searched=ending.searched,
                )
                for command in commands:
                    announce.print_command(screen, command)
        else:
            _compare(experiment, settings, folder, screen, over=over, values=values)
    announce.print_line(screen, text.short_path(folder))


def settings_of(chosen: Choice, *, key: str = "task") -> RangeTestSettings:
    """The settings of the test from those of the task, found at ``key``.

    Raises:
      ConfigError: they contradict each other.
    """
    values = dict(chosen.settings)
    named = {name: values[name] for name in lr_range.RangeTestSettings.__dataclass_fields__}
    try:
        return lr_range.RangeTestSettings(**named)
    except ConfigError as error:
        raise error.under(key) from error


def run_test(
    experiment: build.Experiment,
    settings: RangeTestSettings,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    key: str = "task",
    **options: Any,
) -> RangeTest:
    """``run_range_test``, with the ``key`` of its settings in errors."""
    try:
        return lr_range.run_range_test(experiment, settings, should_stop=should_stop, **options)
    except ConfigError as error:
        raise error.under(key) from error


def write_test(
    experiment: build.Experiment,
    settings: RangeTestSettings,
    test: RangeTest,
    folder: Path,
    *,
    kept: Collection[str] = (),
) -> Choice | None:
    """Writes what a test found to ``folder``, ``range_test.json`` last.

    Args:
      kept: settings of the scheduler that stay as they are.

    Returns:
      The scheduler with the rates that the test found, if it found any.
    """
    config, answer, scheduler = experiment.config, test.answer, None
    range_record.clear(folder)
    range_record.write_curves(folder / range_record.TABLE, {None: test.curves}, over=None)
    _write_pictures(folder, test, _title(experiment), is_log=settings.spacing == "exponential")
    if isinstance(answer, ranges.Answer):
        scheduler = range_choice.suggested_scheduler(
            config.scheduler, answer, experiment.lengths, kept=kept
        )
        section, comments = range_choice.option_of(scheduler), _comments(config, answer)
        range_record.write_option(folder, section, comments=comments)
    range_record.write_result(folder, _result(test, experiment))
    return scheduler


def _print_found(
    screen: Console, test: RangeTest, scheduler: Choice | None, config: Config
) -> None:
    range_report.print_rules(screen, test.curves, test.answer)
    range_report.print_scores(screen, test, config.ranking)
    range_report.print_reasons(screen, test.answer)
    if scheduler is not None and isinstance(test.answer, ranges.Answer):
        line = range_report.answer_line(scheduler, test.answer)
        announce.print_line(screen, line, style="bold")


def _write_pictures(folder: Path, test: RangeTest, title: str, *, is_log: bool) -> None:
    """The picture as a file, and in TensorBoard with the curves."""
    rules = {row.rule: row.median for row in ranges.table(test.curves)}
    answer = test.answer if isinstance(test.answer, ranges.Answer) else None
    png = range_figure.range_figure(test.curves, answer, rules, title=title, is_log=is_log)
    table.write_picture(folder / range_record.PICTURE, png)
    # In a separate folder: a run that starts at step 0 hides what was logged in its folder before.
    place = folder / run_folder.RANGE_EVENTS
    place.mkdir(exist_ok=True)
    with closing(events.EventWriter(place, purge_step=0)) as writer:
        writer.picture("range_test", png)
        for curve in test.curves:
            steps = np.arange(len(curve.rates))
            columns = {
                "range_test/lr": curve.rates,
                f"range_test/loss/seed_{curve.seed}": curve.losses,
                f"range_test/smoothed_loss/seed_{curve.seed}": curve.smoothed,
            }
            writer.scalars(steps, columns, np.full(len(steps), time()))


def _result(test: RangeTest, experiment: build.Experiment) -> dict[str, Any]:
    return {
        **range_record.result_of(test.answer),
        "steps": experiment.lengths.steps,
        "seeds": [curve.seed for curve in test.curves],
        "updates": test.updates,
        "rules": [asdict(row) for row in ranges.table(test.curves)],
        "before_verification": range_record.result_of(test.found),
        "scores": {f"{multiple:g}": scores for multiple, scores in test.scores.items()},
        "metric": experiment.config.ranking.metric,
    }


def _title(experiment: build.Experiment) -> str:
    config = experiment.config
    return f"{config.model.option} · {config.dataset.option} · {config.optimizer.option}"


def _comments(config: Config, answer: Answer) -> list[str]:
    made_for = (
        f"Suggested by a range test of model={config.model.option}, "
        f"dataset={config.dataset.option}, optimizer={config.optimizer.option}."
    )
    return [made_for, *answer.reasons]


def _compare(
    experiment: build.Experiment,
    settings: RangeTestSettings,
    folder: Path,
    screen: Console,
    *,
    over: str,
    values: tuple[float, ...],
) -> None:
    """Compares values of a setting by their loss curves; suggests no rates."""
    try:
        curves = range_values.curves_by_value(experiment, settings, over=over, values=values)
    except ConfigError as error:
        raise error.under("task") from error
    range_record.write_curves(folder / range_record.TABLE, curves, over=over)
    png = range_figure.values_figure(
        curves, over=over, title=_title(experiment), is_log=settings.spacing == "exponential"
    )
    table.write_picture(folder / range_record.PICTURE, png)
    with closing(events.EventWriter(folder)) as writer:
        writer.picture("range_test", png)
    answers = {value: ranges.choose(group) for value, group in curves.items()}
    range_report.print_values(screen, curves, answers, over)
