"""What a command line asks for: help, a look at the configuration, a run, a multirun."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from textwrap import fill
from typing import NoReturn

from hydra import __version__ as hydra_version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import OmegaConf

from runner import __version__
from runner.cli.composing import Composer
from runner.cli.exit import complain, settle_output
from runner.cli.launching import Failure, run_many, run_once
from runner.cli.rehearsal import try_out
from runner.config import Config
from runner.errors import ConfigError, StorageError

HELP = "see python -m runner --help"
HELP_WIDTH = 100


def execute(argv: list[str]) -> int:
    """Prints, runs or runs several times, as ``argv`` asks; returns the exit code.

    Raises:
      RunnerError: the command line or the configuration is wrong, or the run fails.
    """
    args = _parse(argv)
    _check_current_folder()
    if args.shell_completion:
        sys.argv[0] = "runner"  # completion works for the console script, whatever called it
    composer = Composer(args)
    if _is_shown(args):
        # Whoever pipes it into head has seen enough.
        with suppress(BrokenPipeError):
            _show(args, composer)
            sys.stdout.flush()
        settle_output()
        return 0
    if args.multirun or composer.is_multirun():
        composer.overrides.append("hydra.mode=MULTIRUN")
        return _list_failures(run_many(composer))
    composer.overrides.append("hydra.mode=RUN")
    run_once(composer)
    return 0


def configure(*overrides: str) -> Config:
    """The typed configuration of a command line, for use from Python; nothing is run.

    Raises:
      ConfigError: the overrides or the configuration they make are wrong.
    """
    composer = Composer(_parse(list(overrides)))
    return try_out(composer, composer.compose(RunMode.RUN), folder="")


def _parse(argv: list[str]) -> Namespace:
    """Hydra's own flags.

    Raises:
      ConfigError: a flag is unknown, or two do not go together.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    for action in parser._actions:
        if action.dest == "version":
            action.version = f"runner {__version__} (Hydra {hydra_version})"  # type: ignore[attr-defined]
    args = parser.parse_intermixed_args(argv)
    if args.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun", "reads a pickle, which can run code", HELP)
    commands = (args.run, args.multirun, args.cfg, args.info, args.shell_completion)
    if sum(map(bool, commands)) > 1:
        raise ConfigError(
            "command line", "--run, -m, --cfg, --info and -sc exclude each other", HELP
        )
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve", "goes with --cfg or --help only", HELP)
    return args


def _refuse(message: str) -> NoReturn:
    raise ConfigError("command line", message, HELP)


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        problem = f"cannot be used ({error.strerror})"
        raise StorageError("current folder", problem, "go to one that exists") from error


def _is_shown(args: Namespace) -> bool:
    return bool(args.help or args.hydra_help or args.shell_completion or args.cfg or args.info)


def _show(args: Namespace, composer: Composer) -> None:
    """Prints what ``args`` asks to see."""
    hydra, name, overrides = composer.hydra, composer.config_name, composer.overrides
    parser = get_args_parser()
    if args.resolve:
        composer.compose(RunMode.RUN)  # refuses what must not be resolved
    if args.help:
        _wrap_groups(hydra)
        composer.attempt(lambda: hydra.app_help(name, parser, args))
    elif args.hydra_help:
        composer.attempt(lambda: hydra.hydra_help(name, parser, args))
    elif args.shell_completion:
        composer.attempt(lambda: hydra.shell_completion(name, overrides))
    elif args.cfg:
        cfg = composer.compose(RunMode.RUN)
        if args.package and OmegaConf.select(cfg, args.package) is None:
            raise ConfigError("--package", f"there is no {args.package!r}", "name a section")
        composer.attempt(
            lambda: hydra.show_cfg(name, overrides, args.cfg, args.package, args.resolve)
        )
    else:
        composer.compose(RunMode.RUN)
        hydra.show_info(args.info, name, overrides)


def _list_failures(failures: list[Failure]) -> int:
    """One line on standard error per failed job; the exit code is that of the first."""
    for failure in failures:
        complain(failure.line, about=f"job {failure.number} ({' '.join(failure.overrides)}): ")
    return failures[0].exit_code if failures else 0


def _wrap_groups(hydra: Hydra) -> None:
    """Lets the help list a group's options on as many lines as they need."""
    listed = hydra.format_config_groups

    def wrapped(predicate: Callable[[str], bool], compact: bool = True) -> str:
        lines = listed(predicate, compact).splitlines()
        return "".join(f"{fill(line, HELP_WIDTH, subsequent_indent='  ')}\n" for line in lines)

    hydra.format_config_groups = wrapped
