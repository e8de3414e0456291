"""From the command line to the composed configuration."""

import errno
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig

from runner import registry
from runner.cli.faults import find, of_grammar, short
from runner.cli.loader import SettingsLoader
from runner.cli.settings_file import NO_TARGET, TARGET
from runner.cli.sources import CONF, named_folder, start_hydra
from runner.config import plugins
from runner.errors import ConfigError, RunnerError, nearest, shown
from runner.registry import GROUPS

Result = TypeVar("Result")

MAX_OVERRIDE = 8_000
SEARCH_PATH = "hydra.searchpath="


class Composer:
    """Composes configurations for one command line.

    Attributes:
      hydra: Hydra's object, with the search path of this command line.
      loader: its loader.
      parsed: the overrides as they were typed, parsed; without ``hydra.searchpath``.
      plugins: the packages that the command line names; already imported.
    """

    def __init__(self, flags: Namespace) -> None:
        """Looks for files and imports the plugins that the command line names.

        Raises:
          ConfigError: an override or a folder is refused, or a plugin cannot be imported.
        """
        self._complete = False  # whether installed plugins have been loaded as well
        searches = [line for line in flags.overrides if line.lstrip("+").startswith(SEARCH_PATH)]
        folders = [named_folder("--config-dir", flags.config_dir)] if flags.config_dir else []
        for override in parse(searches):
            paths: Any = override.value()
            for path in paths if isinstance(paths, list) else [paths]:
                folders.append(named_folder(SEARCH_PATH[:-1], str(path)))
        main = named_folder("--config-path", flags.config_path) if flags.config_path else CONF
        self.hydra = start_hydra(main, folders)
        self.loader = SettingsLoader(self.hydra.config_loader.get_search_path(), flags.config_name)
        self.hydra.config_loader = self.loader
        self.parsed = parse([o for o in flags.overrides if o not in searches], self.loader)
        for override in self.parsed:
            self._check_option(override)
        self.plugins = _named_plugins(self.parsed)
        plugins.import_named(self.plugins)
        self._offer_registered()

    @property
    def lines(self) -> list[str]:
        return [str(override.input_line) for override in self.parsed]

    def compose(self, mode: RunMode, lines: Sequence[str] | None = None) -> DictConfig:
        """The configuration of a run, or the one that a multirun starts from.

        It is that of the command line, or of other override ``lines``.

        Raises:
          ConfigError: whatever Hydra objects to.
        """
        chosen = self.lines if lines is None else list(lines)
        load, name = self.loader.load_configuration, self.loader.config_name
        return self.attempt(lambda: load(name, chosen, mode, True, False), chosen)

    def refuse_sweeps(self, remedy: str, *, of_hydra: bool = False) -> None:
        """Refuses overrides that sweep values, all of them or those of Hydra's own settings."""
        for override in self.parsed:
            if override.is_sweep_override() and (override.is_hydra_override() or not of_hydra):
                problem = f"{override.get_value_string()!r} is several values"
                raise ConfigError(override.key_or_group or "command line", problem, remedy)

    def attempt(self, action: Callable[[], Result], lines: Sequence[str] | None = None) -> Result:
        """Does ``action``; where an option is missing, once more with all installed plugins.

        Raises:
          ConfigError: ``action`` failed; what is wrong is looked for in ``lines``.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a missing _self_, for one
                return action()
        except MissingConfigException as error:
            if not self._load_installed():
                raise self.answer(error, lines) from error
        except Exception as error:
            is_name = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
            if isinstance(error, (RunnerError, OSError)) and not is_name:
                raise
            raise self.answer(error, lines) from error
        return self.attempt(action, lines)

    def answer(self, error: Exception, lines: Sequence[str] | None = None) -> ConfigError:
        """What Hydra raised, as an error that names the key, what is wrong and what to do."""
        parsed = self.parsed if lines is None else parse(lines)
        return find(error, parsed, self.loader)

    def options(self, group: str, *, wanted: str = "") -> list[str]:
        """The options of ``group``, with installed plugins' if ``wanted`` is not among them."""
        options = self.loader.get_group_options(group)
        if wanted and wanted not in options and self._load_installed():
            return self.loader.get_group_options(group)
        return options

    def _check_option(self, override: Override) -> None:
        group = override.key_or_group
        if group not in GROUPS or override.is_delete() or override.is_sweep_override():
            return
        value = override.value()
        if not isinstance(value, str):
            problem = f"{shown(value)} is not the name of an option"
            raise ConfigError(group, problem, nearest("", self.options(group)))

    def _load_installed(self) -> bool:
        """Offers the options of installed plugins; False if there are none, or they are there."""
        if self._complete or not plugins.entry_point_names():
            return False
        registry.load_entry_points()
        self._complete = True
        self._offer_registered()
        return True

    def _offer_registered(self) -> None:
        """Makes an option of each registered factory that no YAML file configures."""
        for (group, name), settings in plugins.registered_options().items():
            if name not in self.options(group):
                ConfigStore.instance().store(group=group, name=name, node=settings)


def parse(lines: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Override ``lines`` by Hydra's grammar, whose ``glob`` asks ``loader``.

    Raises:
      ConfigError: one does not follow the grammar, is too long, or names code.
    """
    parser = OverridesParser.create(loader)
    parsed = []
    for line in lines:
        key = short(line.partition("=")[0])
        if len(line) > MAX_OVERRIDE:
            problem = f"the value has {len(line):,} characters"
            raise ConfigError(key, problem, f"write at most {MAX_OVERRIDE:,}")
        if TARGET in line:
            raise ConfigError(key, f"{TARGET} is not allowed", NO_TARGET)
        try:
            parsed += parser.parse_overrides([line])
        except Exception as error:
            raise of_grammar(error, line) from error
    return parsed


def _named_plugins(overrides: list[Override]) -> tuple[str, ...]:
    """The packages that the command line names; as with any key, the last one counts."""
    named = [o for o in overrides if o.key_or_group == "plugins" and not o.is_delete()]
    if not named:
        return ()
    names: Any = named[-1].value()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problem = f"{named[-1].get_value_string()!r} is not a list of packages"
        raise ConfigError("plugins", problem, "write one such as plugins=[my_models]")
    return tuple(names)
