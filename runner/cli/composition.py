"""From the command line to the composed configuration."""

import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from runner import registry
from runner.cli import faults
from runner.cli.loader import SettingsLoader
from runner.cli.settings_file import NO_TARGET, TARGET
from runner.cli.sources import CONF, named_folder, start_hydra
from runner.config import plugins
from runner.errors import ConfigError, RunnerError, nearest, shown
from runner.registry import GROUPS

Result = TypeVar("Result")

MAX_OVERRIDE = 8_000


class Composer:
    """Composes configurations for one command line.

    Attributes:
      hydra: Hydra's object, with the search path of this command line.
      loader: its loader.
      config_name: of the primary configuration.
      parsed: the overrides as they were typed, parsed; without ``hydra.searchpath``.
      plugins: the packages that the command line names; already imported.
    """

    def __init__(self, flags: Namespace) -> None:
        """Looks for files and imports the plugins that the command line names.

        Raises:
          ConfigError: an override or a folder is refused, or a plugin cannot be imported.
        """
        self.config_name: str = flags.config_name
        self.plugins: tuple[str, ...] = ()
        self._complete = False  # whether installed plugins have been loaded as well
        parsed = parse(flags.overrides)
        paths = [o.value() for o in parsed if o.key_or_group == "hydra.searchpath"]
        self.parsed = [o for o in parsed if o.key_or_group != "hydra.searchpath"]
        folders = [named_folder("--config-dir", flags.config_dir)] if flags.config_dir else []
        for path in paths[-1] if paths and isinstance(paths[-1], list) else paths:
            folders.append(named_folder("hydra.searchpath", str(path)))
        main = named_folder("--config-path", flags.config_path) if flags.config_path else CONF
        self.hydra = start_hydra(main, folders)
        self.loader = SettingsLoader(self.hydra.config_loader.get_search_path())
        self.hydra.config_loader = self.loader
        for override in self.parsed:
            override.config_loader = self.loader  # for glob(...)
            self._check_option(override)
        self.plugins = _named_plugins(self.parsed)
        plugins.import_named(list(self.plugins))
        if self.plugins:
            self.attempt(self._offer_registered)

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
        load = self.loader.load_configuration
        return self.attempt(
            lambda: load(self.config_name, chosen, mode, validate_sweep_overrides=False), chosen
        )

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
            if not self._may_load_more():
                raise self.answer(error, lines) from error
        except (RunnerError, OSError):
            raise
        except Exception as error:
            raise self.answer(error, lines) from error
        self._load_installed()
        return self.attempt(action, lines)

    def answer(self, error: Exception, lines: Sequence[str] | None = None) -> ConfigError:
        """What Hydra raised, as an error that names the key, what is wrong and what to do."""
        parsed = self.parsed if lines is None else parse(lines)
        return faults.find(error, parsed, self)

    def is_group(self, name: str) -> bool:
        return self.loader.is_group(name)

    def choices(self) -> dict[str, str | None]:
        """The options that the files choose, by group (and package)."""
        return self.loader.choices(self.config_name)

    def settings(self, parsed: Sequence[Override]) -> dict[str, Any]:
        """Every setting by dotted key, of the chosen options if they exist; else the defaults'."""
        for overrides in (parsed, []):
            with suppress(Exception):  # an option that is wrong is not asked about here
                return self.loader.settings(self.config_name, overrides)
        return {}

    def options(self, group: str, *, wanted: str = "") -> list[str]:
        """The options of ``group``, with installed plugins' if ``wanted`` is not among them."""

        def listed() -> list[str]:
            return self.loader.get_group_options(group, ObjectType.CONFIG)

        if wanted and wanted not in self.attempt(listed) and self._may_load_more():
            self._load_installed()
        return self.attempt(listed)

    def _check_option(self, override: Override) -> None:
        group = override.key_or_group
        if group not in (*GROUPS, "task") or override.is_delete() or override.is_sweep_override():
            return
        value = override.value()
        if not isinstance(value, str):
            problem = f"{shown(value)} is not the name of an option"
            raise ConfigError(group, problem, nearest("", self.options(group)))

    def _may_load_more(self) -> bool:
        return not self._complete and bool(plugins.entry_point_names())

    def _load_installed(self) -> None:
        registry.load_entry_points()
        self._complete = True
        self.attempt(self._offer_registered)

    def _offer_registered(self) -> None:
        """Makes an option of each registered factory that no YAML file configures."""
        for (group, name), settings in plugins.registered_options().items():
            if name not in self.options(group):
                ConfigStore.instance().store(group=group, name=name, node=settings)


def parse(lines: Sequence[str]) -> list[Override]:
    """Override ``lines`` by Hydra's grammar.

    Raises:
      ConfigError: one does not follow the grammar, is too long, or names code.
    """
    parser = OverridesParser.create()
    parsed = []
    for line in lines:
        key = faults.short(line.partition("=")[0])
        if len(line) > MAX_OVERRIDE:
            problem = f"the value has {len(line):,} characters"
            raise ConfigError(key, problem, f"write at most {MAX_OVERRIDE:,}")
        if TARGET in line:
            raise ConfigError(key, f"{TARGET} is not allowed", NO_TARGET)
        try:
            parsed += parser.parse_overrides([line])
        except Exception as error:
            raise faults.of_grammar(error, line) from error
    return parsed


def activate(cfg: DictConfig, output_dir: str | None = None) -> None:
    """Lets ``${hydra:...}`` refer to ``cfg``, and its run folder be ``output_dir``."""
    if output_dir is not None:
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.runtime.output_dir = output_dir
    HydraConfig.instance().set_config(cfg)


def _named_plugins(overrides: list[Override]) -> tuple[str, ...]:
    """The packages that the command line names; as with any key, the last one counts."""
    names: tuple[str, ...] = ()
    for override in overrides:
        if override.key_or_group == "plugins" and not override.is_delete():
            value: Any = override.value()
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise ConfigError(
                    "plugins",
                    f"{override.get_value_string()!r} is not a list of packages",
                    "write one such as plugins=[my_models]",
                )
            names = tuple(value)
    return names
