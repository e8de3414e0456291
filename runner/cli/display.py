"""Prints help, the configuration, where it comes from, or a completion script."""

import logging
import sys
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from string import Template
from textwrap import fill

from hydra.core.global_hydra import GlobalHydra

from runner.cli.composition import Composer
from runner.cli.exit import settle_output
from runner.cli.flags import flag_parser
from runner.errors import ConfigError, printable

WIDTH = 100


def show(flags: Namespace, composer: Composer) -> None:
    """Prints what ``flags`` ask for; a reader may close the pipe early (``| head``).

    Raises:
      ConfigError: an override is wrong, or the configuration is.
    """
    with composer.answered():
        text = _help(composer) if flags.help else _hydras(flags, composer)
    with suppress(BrokenPipeError):
        print(printable(text), end="")
        sys.stdout.flush()
    settle_output()


def _help(composer: Composer) -> str:
    """The template of ``hydra.help`` with the groups and their options filled in."""
    cfg = composer.compose(composer.lines)
    groups = []
    for group in composer.list_groups(""):
        listed = f"{group}: {', '.join(composer.options(group))}"
        groups += [fill(listed, WIDTH, subsequent_indent="  ")] if group != "hydra" else []
    template = Template(f"{cfg.hydra.help.template}\n")
    return template.safe_substitute(APP_CONFIG_GROUPS="".join(f"{group}\n" for group in groups))


def _hydras(flags: Namespace, composer: Composer) -> str:
    """What Hydra prints, or logs to standard output."""
    name, lines, hydra = composer.config_name, composer.lines, GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.config_loader = composer
    printed, root = StringIO(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with redirect_stdout(printed), redirect_stderr(StringIO()):
            if flags.shell_completion:
                sys.argv[0] = "runner"  # completes the console script, also under python -m
                hydra.shell_completion(name, lines)
            elif flags.hydra_help:
                hydra.hydra_help(name, flag_parser(), flags)
            elif flags.cfg:
                hydra.show_cfg(name, lines, flags.cfg, flags.package, flags.resolve)
            else:
                hydra.show_info(flags.info, name, lines)
    except SystemExit as error:  # show_cfg exits if there is no such section
        problem = f"there is no section {flags.package!r}"
        raise ConfigError("--package", problem, "name one that --cfg prints") from error
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return printed.getvalue()
