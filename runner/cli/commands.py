"""What a command line asks for: help, a look at the configuration, a run, a multirun."""

import os

from hydra.types import RunMode

from runner.cli import display
from runner.cli.composition import Composer, activate
from runner.cli.exit import complain, settle_output
from runner.cli.faults import short
from runner.cli.flags import read_flags
from runner.cli.job import run_once
from runner.cli.reading import read_settings
from runner.cli.sweep import run_many
from runner.config import Config
from runner.errors import ConfigError, StorageError

# Of what a user typed, an error shows no more.
MAX_SHOWN = 400


def execute(argv: list[str]) -> int:
    """Prints, runs or runs several times, as ``argv`` asks; returns the exit code.

    Raises:
      RunnerError: the command line or the configuration is wrong, or the run fails.
    """
    try:
        return _execute(argv)
    except ConfigError as error:
        key, problem = short(error.key, MAX_SHOWN), short(error.problem, MAX_SHOWN)
        raise ConfigError(key, problem, short(error.remedy, MAX_SHOWN)) from error


def configure(*overrides: str) -> Config:
    """The typed configuration of a command line, for use from Python; nothing is run.

    Raises:
      ConfigError: the overrides or the configuration they make are wrong.
    """
    composer = Composer(read_flags(list(overrides)))
    cfg = composer.compose(RunMode.RUN)
    _refuse_sweeps(composer)
    activate(cfg, output_dir=os.getcwd())
    return read_settings(composer, cfg)


def _execute(argv: list[str]) -> int:
    flags = read_flags(argv)
    _check_current_folder()
    composer = Composer(flags)
    if display.is_asked(flags):
        display.show(flags, composer)
        settle_output()
        return 0
    lines = composer.lines
    if flags.run or flags.multirun:
        lines.append(f"hydra.mode={'MULTIRUN' if flags.multirun else 'RUN'}")
    sweeps = any(override.is_sweep_override() for override in composer.parsed)
    cfg = composer.compose(RunMode.MULTIRUN if flags.multirun or sweeps else RunMode.RUN, lines)
    if cfg.hydra.mode is RunMode.MULTIRUN:
        failures = run_many(composer, cfg, where_it_applies=flags.where_it_applies)
        for failure in failures:
            about = f"job {failure.number} ({' '.join(failure.overrides)}): "
            complain(failure.line, about=about)
        return failures[0].exit_code if failures else 0
    _refuse_sweeps(composer)
    if flags.where_it_applies:
        raise ConfigError("--where-it-applies", "goes with -m only", "add -m, or leave it out")
    cfg.hydra.mode = RunMode.RUN
    run_once(composer, cfg)
    return 0


def _refuse_sweeps(composer: Composer) -> None:
    for override in composer.parsed:
        if override.is_sweep_override():
            key = override.key_or_group or "command line"
            problem = f"{short(override.get_value_string())!r} is several values"
            remedy = "add -m to run each of them, or write a list: [...]"
            raise ConfigError(key, problem, remedy)


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise StorageError("current folder", problem, "go to one that exists") from error
