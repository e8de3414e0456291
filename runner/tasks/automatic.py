"""The rates of ``scheduler=auto``, found by a range test of this or an earlier attempt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from runner.errors import ConfigError
from runner.records.ending import Ending
from runner.tasks.range_test import run_test, settings_of, write_test
from runner.tasks.start import start_of

with epy.lazy_imports():
    from runner import ranges
    from runner.experiment import check, range_choice
    from runner.records import range_record
    from runner.report import announce, range_report

if TYPE_CHECKING:
    from rich.console import Console

    from runner.config import Choice
    from runner.experiment.build import Experiment
    from runner.experiment.lengths import Lengths
    from runner.ranges import Answer

KEY = "scheduler.range_test"
# Lengths that are kept if ``scheduler.settings`` gives them.
_LENGTHS = ("step_size_up", "step_size_down", "step_size")


def with_found_rates(
    experiment: Experiment, folder: Path, screen: Console, ending: Ending
) -> Experiment:
    """The experiment with the rates that a range test suggests for its policy.

    A resumed run uses the answer in ``folder``, if there is one, and does not repeat the test.

    Raises:
      ConfigError: the range test supports no answer, or a setting of it is wrong.
      InterruptedRunError, TerminatedRunError: a signal stopped it.
    """
    config = experiment.config
    if config.init_from is not None and not config.init_params_only:
        problem = "a run that continues a saved state already has its rates"
        raise ConfigError(
            "init_from", problem, "choose another scheduler, or init_params_only=true"
        )
    settings: Any = config.auto and config.auto.settings
    kept = [name for name in _LENGTHS if name in settings.settings]
    earlier = range_record.read_result(folder) if config.resume is not None else None
    if earlier is not None:
        answer, lengths = earlier.answer, replace(experiment.lengths, steps=earlier.steps)
    else:
        answer, lengths = _find(experiment, settings.range_test, folder, screen, ending, kept=kept)
    scheduler = range_choice.suggested_scheduler(config.scheduler, answer, lengths, kept=kept)
    found = experiment.under(scheduler)
    check.check(found)
    announce.print_line(screen, range_report.answer_line(scheduler, answer))
    return found


def _find(
    experiment: Experiment,
    chosen: Choice,
    folder: Path,
    screen: Console,
    ending: Ending,
    *,
    kept: Collection[str],
) -> tuple[Answer, Lengths]:
    """The answer of a range test, and the lengths of the run it suits."""
    for name in ("over", "values"):
        if getattr(chosen.settings, name):
            problem = "compares values of a setting and suggests no rates"
            raise ConfigError(f"{KEY}.{name}", problem, "leave it out, or run task=range_test")
    settings = settings_of(chosen, key=KEY)
    announce.print_line(screen, range_report.test_line(experiment, settings))
    test = run_test(
        experiment,
        settings,
        should_stop=ending.is_stopping,
        key=KEY,
        start=lambda seeded: start_of(seeded, folder, resumes=False).state,
    )
    ending.raise_if_stopped(0, experiment.lengths.steps)
    write_test(experiment, settings, test, folder, kept=kept)
    if isinstance(test.answer, ranges.NoAnswer):
        problem = f"the range test suggests no rates: {test.answer.reason}"
        raise ConfigError("scheduler", problem, test.answer.remedy)
    return test.answer, experiment.lengths
