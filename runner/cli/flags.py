"""The flags of the command line, and its overrides."""

from argparse import ArgumentParser, Namespace
from typing import NoReturn

from hydra import __version__ as hydra_version

from runner import __version__
from runner.errors import ConfigError

SEE_HELP = "see python -m runner --help"
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class FlagParser(ArgumentParser):
    """Raises an error instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("command line", message, SEE_HELP)


def flag_parser() -> FlagParser:
    """Hydra's flags, and ``--where-it-applies``."""
    parser = FlagParser(prog="runner", add_help=False)
    add = parser.add_argument
    add("overrides", nargs="*", help="group=option or key=value; +key=value adds, ~key removes")
    add("-h", "--help", action="store_true", help="print groups, options and examples")
    add("--hydra-help", action="store_true", help="print all flags and Hydra's own groups")
    version = f"runner {__version__} (Hydra {hydra_version})"
    add("--version", action="version", version=version, help="print the version")
    add("-c", "--cfg", choices=["job", "hydra", "all"], help="print the configuration")
    add("--resolve", action="store_true", help="with --cfg: fill in the interpolations")
    add("-p", "--package", help="with --cfg: print this section only")
    add("-r", "--run", action="store_true", help="run one job")
    add("-m", "--multirun", action="store_true", help="run every combination of values")
    applies = "with -m: leave a setting out of the jobs whose options do not have it"
    add("--where-it-applies", action="store_true", help=applies)
    add("-sc", "--shell-completion", action="store_true", help="install=SHELL, uninstall=SHELL")
    add("-cp", "--config-path", help="a folder to use instead of the runner's conf/")
    add("-cn", "--config-name", default="config", help="the YAML file to start from")
    add("-cd", "--config-dir", help="a folder of your own groups and options")
    add("--experimental-rerun", help="refused: it reads a pickle")
    add("-i", "--info", nargs="?", const="all", choices=INFO, help=f"print {', '.join(INFO)}")
    return parser


def read_flags(argv: list[str]) -> Namespace:
    """The flags and overrides in ``argv``; ``shows`` is true if something is only printed.

    Raises:
      ConfigError: a flag is unknown, or two flags exclude each other.
    """
    flags = flag_parser().parse_intermixed_args(argv)
    if flags.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun", "would read a pickle, which can run code", SEE_HELP
        )
    commands = (flags.run, flags.multirun, flags.cfg, flags.info, flags.shell_completion)
    if sum(map(bool, commands)) > 1:
        problem = "--run, -m, --cfg, --info and -sc exclude each other"
        raise ConfigError("command line", problem, SEE_HELP)
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve", "works only with --cfg or --help", SEE_HELP)
    asked = (flags.help, flags.hydra_help, flags.shell_completion, flags.cfg, flags.info)
    flags.shows = any(asked)
    return flags
