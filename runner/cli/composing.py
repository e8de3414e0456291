"""From the command line to the composed configuration, by Hydra's own loader.

Hydra is driven through its classes and not through ``hydra.main``, which ends every failure in
exit code 1 and lets files be read before anyone has looked at them. Pinned: hydra-core < 1.4.
"""

import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import Any, TypeVar

from hydra import version
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner import registry
from runner.cli.loading import start_hydra
from runner.cli.screening import screen_composed, screen_overrides
from runner.cli.translation import Known, one_line, translate
from runner.config import plugins
from runner.errors import shown
from runner.registry import GROUPS
from runner.errors import ConfigError, RunnerError, nearest

Result = TypeVar("Result")


class Composer:
    """Composes configurations for one command line.

    Attributes:
      hydra: Hydra, with the search path of this command line.
      config_name: of the primary configuration.
      overrides: the command line's, as they were typed.
      plugins: the packages that the command line names; already imported.
    """

    def __init__(self, args: Namespace) -> None:
        """Screens the command line and imports the plugins that it names.

        Raises:
          ConfigError: an override or a folder is refused, or a plugin cannot be imported.
        """
        version.setbase("1.3")
        self.overrides: list[str] = list(args.overrides)
        self.config_name: str = args.config_name or "config"
        screen_overrides(self.overrides)
        self.hydra = start_hydra(args.config_path, args.config_dir)
        self._complete = False  # whether installed plugins have been loaded as well
        self.plugins: tuple[str, ...] = ()
        self.parsed = self.attempt(lambda: self.parse(self.overrides))
        for override in self.parsed:
            self._check_option(override)
        self.plugins = _named_plugins(self.parsed)
        plugins.import_named(list(self.plugins))
        if self.plugins:
            self.attempt(self._offer_registered)

    def compose(self, mode: RunMode, overrides: list[str] | None = None) -> DictConfig:
        """The configuration of a run, or the one that a multirun starts from.

        It is that of the command line, or of other ``overrides``.

        Raises:
          ConfigError: whatever Hydra objects to.
        """
        lines = list(self.overrides if overrides is None else overrides)
        cfg = self.attempt(lambda: self.hydra.compose_config(self.config_name, lines, mode))
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        screen_composed({k: v for k, v in raw.items() if k != "hydra"}, raw["hydra"])
        return cfg

    def _check_option(self, override: Override) -> None:
        group = override.key_or_group
        if group in GROUPS and not (override.is_delete() or override.is_sweep_override()):
            value = override.value()
            if not isinstance(value, str):
                problem = f"{shown(value)} is not the name of an option"
                raise ConfigError(group, problem, nearest("", self._options(group)))

    def parse(self, overrides: list[str]) -> list[Override]:
        """``overrides`` by Hydra's grammar.

        Raises:
          HydraException: one does not follow the grammar.
          ConfigError: one cannot be read for another reason.
        """
        parser = OverridesParser.create(self.hydra.config_loader)
        parsed = []
        for override in overrides:
            try:
                parsed += parser.parse_overrides([override])
            except (ValueError, RecursionError) as error:  # an int of thousands of digits, ...
                key = override.partition("=")[0]
                raise ConfigError(key, one_line(error), "write a simpler value") from error
        return parsed

    def is_multirun(self) -> bool:
        """Whether the configuration asks for a multirun (``hydra.mode``)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mode = self.hydra.get_mode(self.config_name, list(self.overrides))
        return mode is RunMode.MULTIRUN

    def attempt(self, action: Callable[[], Result]) -> Result:
        """Does ``action``; where an option is missing, once more with all installed plugins.

        Raises:
          ConfigError: ``action`` failed; in our own words.
        """
        try:
            return self._silently(action)
        except MissingConfigException as error:
            if not self._may_load_more():
                raise self.answer(error) from error
        except (RunnerError, OSError):
            raise
        except Exception as error:
            raise self.answer(error) from error
        self._load_installed()
        return self.attempt(action)

    def options(self, group: str, overrides: list[str], *, wanted: str) -> list[str]:
        """The options of ``group``, with all installed plugins' if ``wanted`` is not among them.

        overrides: of Hydra's own settings, which may name folders.
        """

        def listed() -> list[str]:
            loader = self.hydra.config_loader
            return loader.get_group_options(group, ObjectType.CONFIG, self.config_name, overrides)

        if wanted not in self.attempt(listed) and self._may_load_more():
            self._load_installed()
        return self.attempt(listed)

    def _may_load_more(self) -> bool:
        return not self._complete and bool(plugins.entry_point_names())

    def _load_installed(self) -> None:
        registry.load_entry_points()
        self._complete = True
        self.attempt(self._offer_registered)

    def answer(self, error: Exception) -> ConfigError:
        """What Hydra raised, in our own words."""
        return translate(error, Known(keys=self._known_keys, options=self._options))

    @staticmethod
    def _silently(action: Callable[[], Result]) -> Result:
        # Hydra only warns of a search path that is not there, and of a missing _self_.
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return action()

    def _known_keys(self) -> list[str]:
        """Every key of the configuration with the chosen options, leaving out what fails."""
        choices = [o.input_line for o in self.parsed if o.key_or_group in self._groups()]
        for overrides in (choices, []):
            try:
                cfg = self.hydra.compose_config(
                    self.config_name, [line for line in overrides if line], RunMode.MULTIRUN
                )
            except Exception:
                continue
            return dotted_keys(OmegaConf.to_container(cfg, resolve=False))
        return []

    def _groups(self) -> list[str]:
        return self.hydra.config_loader.list_groups("")

    def _options(self, group: str) -> list[str]:
        return self.hydra.config_loader.get_group_options(group, ObjectType.CONFIG)

    def _offer_registered(self) -> None:
        """Makes an option of each registered factory that no YAML file configures."""
        for (group, name), settings in plugins.registered_options().items():
            if name not in self._options(group):
                ConfigStore.instance().store(group=group, name=name, node=settings)


def _named_plugins(overrides: list[Override]) -> tuple[str, ...]:
    """The packages that the command line names; as with any key, the last one counts."""
    names: tuple[str, ...] = ()
    for override in overrides:
        if override.key_or_group == "plugins" and not override.is_delete():
            value = override.value()
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise ConfigError(
                    "plugins",
                    f"{override.get_value_string()!r} is not a list of packages",
                    "write one such as plugins=[my_models]",
                )
            names = tuple(value)
    return names


def dotted_keys(value: Any, prefix: str = "") -> list[str]:
    """Every dotted key below a mapping."""
    found = []
    for key, item in value.items():
        found.append(f"{prefix}{key}")
        if isinstance(item, dict):
            found += dotted_keys(item, f"{prefix}{key}.")
    return found
