"""What is printed instead of run: the help, the configuration, where it comes from, completion."""

import logging
import sys
from argparse import Namespace
from contextlib import redirect_stdout, suppress
from io import StringIO
from string import Template
from textwrap import fill
from typing import Any

from hydra.types import RunMode
from omegaconf import Container, OmegaConf, open_dict, read_write

from runner.cli.composition import Composer, activate
from runner.cli.flags import flag_parser
from runner.cli.reading import without_hydra
from runner.errors import ConfigError

WIDTH = 100


def is_asked(flags: Namespace) -> bool:
    """Whether something is to be printed and nothing to be run."""
    asked = (flags.help, flags.hydra_help, flags.shell_completion, flags.cfg, flags.info)
    return any(asked)


def show(flags: Namespace, composer: Composer) -> None:
    """Prints what ``flags`` ask for; a reader that has seen enough (``| head``) may close the pipe.

    Raises:
      ConfigError: the overrides or the configuration are wrong.
    """
    hydra, name, lines = composer.hydra, composer.config_name, composer.lines
    with suppress(BrokenPipeError):
        if flags.shell_completion:
            sys.argv[0] = "runner"  # completion works for the console script, whatever called it
            composer.attempt(lambda: hydra.shell_completion(name, lines))
        elif flags.hydra_help:
            composer.attempt(lambda: hydra.hydra_help(name, flag_parser(), flags))
        elif flags.help:
            print(_help(composer))
        elif flags.cfg:
            print(_config(flags, composer), end="")
        else:
            print(_info(flags, composer), end="")
        sys.stdout.flush()


def _help(composer: Composer) -> str:
    """The template of ``hydra.help`` with the groups and their options filled in."""
    cfg = composer.compose(RunMode.RUN)
    groups = []
    for group in composer.loader.list_groups(""):
        listed = f"{group}: {', '.join(composer.options(group))}"
        groups += [fill(listed, WIDTH, subsequent_indent="  ")] if group != "hydra" else []
    return Template(cfg.hydra.help.template).safe_substitute(
        APP_CONFIG_GROUPS="".join(f"{group}\n" for group in groups)
    )


def _config(flags: Namespace, composer: Composer) -> str:
    cfg = composer.compose(RunMode.RUN)
    activate(cfg)
    shown: Any = cfg
    if flags.cfg == "job":
        shown = without_hydra(cfg)
    elif flags.cfg == "hydra":
        shown = OmegaConf.masked_copy(cfg, "hydra")
        with read_write(shown.hydra), open_dict(shown.hydra):
            del shown.hydra["help"], shown.hydra["hydra_help"]
    package = None if flags.package == "_global_" else flags.package
    if package:
        shown = composer.attempt(lambda: OmegaConf.select(shown, package))
        if shown is None:
            raise ConfigError("--package", f"there is no {package!r}", "name a section")
    if not isinstance(shown, Container):
        return f"{shown}\n"
    text = composer.attempt(lambda: OmegaConf.to_yaml(shown, resolve=flags.resolve))
    return f"# @package {package}\n{text}" if package else text


def _info(flags: Namespace, composer: Composer) -> str:
    """What Hydra says of itself; it logs to the standard output of that moment."""
    composer.compose(RunMode.RUN)
    printed, root = StringIO(), logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        with redirect_stdout(printed):
            composer.attempt(
                lambda: composer.hydra.show_info(flags.info, composer.config_name, composer.lines)
            )
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    return printed.getvalue()
