"""Hydra's loader, which merges only what a configuration file may set."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# Hydra's public loader is an interface only. Every composition goes through load_configuration,
# those of launchers and sweepers included.
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig

from runner.cli.allow_list import check_allowed, dotted, plain
from runner.cli.interpolation import check_expansion
from runner.cli.sources import USERS
from runner.errors import ConfigError

# Groups with settings that may be mappings, whose names are the user's to choose.
OPEN_GROUPS = ("scheduler", "optimizer")
# How often one file may stand in defaults lists; Hydra's tree of them is walked twice.
MAX_INCLUDED = 100
_LOADS_PER_INCLUSION = 2


class SettingsLoader(ConfigLoaderImpl):
    """Composes configurations of files that are not trusted and overrides that are."""

    def __init__(self, search_path: ConfigSearchPath, config_name: str) -> None:
        ConfigLoaderImpl.__init__(self, search_path)
        self.config_name = config_name
        self._known: dict[tuple[str, ...], dict[str, Any]] = {}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(overrides)
        lines = [f"{'++' if _may_add(o) else ''}{o.input_line}" for o in parsed]
        cfg = ConfigLoaderImpl.load_configuration(
            self, config_name, lines, run_mode, from_shell, validate_sweep_overrides
        )
        typed = [override.input_line for override in parsed if not override.is_hydra_override()]
        cfg.hydra.overrides.task = typed
        check_expansion(plain(cfg))
        return cfg

    def is_group(self, name: str) -> bool:
        return bool(name) and any(source.is_group(name) for source in self.get_sources())

    def chooses(self, line: str) -> bool:
        """Whether the override ``line`` chooses an option of a group."""
        return self.is_group(line.lstrip("+~").partition("=")[0].partition("@")[0])

    def settings(self, lines: Sequence[str]) -> dict[str, Any]:
        """Every setting by dotted key, of the chosen options if they exist; else the defaults'."""
        for chosen in (tuple(filter(self.chooses, lines)), ()):
            with suppress(Exception):  # an option that is wrong is not asked about here
                if chosen not in self._known:
                    load = ConfigLoaderImpl.load_configuration
                    cfg = load(self, self.config_name, [*chosen], RunMode.MULTIRUN, True, False)
                    self._known[chosen] = dict(dotted(plain(cfg)))
                return self._known[chosen]
        return {}

    def choices(self) -> dict[str, str | None]:
        """The options that the files choose, by group (and package)."""
        found = self.compute_defaults_list(self.config_name, [], RunMode.MULTIRUN)
        return found.overrides.known_choices

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> Any:
        # Unlike Hydra's, it does not search the places that a file names (hydra.searchpath).
        return OverridesParser.create().parse_overrides(overrides), _Files(self.repository)

    @staticmethod
    def _embed_result_config(ret: ConfigResult, package_override: str | None) -> ConfigResult:
        """Places a file's settings in their package, before anything of them is merged."""
        placed = ConfigLoaderImpl._embed_result_config(ret, package_override)
        if placed.provider == USERS:
            check_allowed(plain(placed.config), placed.path)
        return placed


class _Files(CachingConfigRepository):
    """Loads each file once, and ends defaults lists that include each other without end."""

    def __init__(self, delegate: IConfigRepository) -> None:
        CachingConfigRepository.__init__(self, delegate)
        self.loads: Counter[str] = Counter()

    def get_schema_source(self) -> ConfigSource:
        raise ConfigLoadError("an option is never merged into a schema of the same name")

    def load_config(self, config_path: str) -> ConfigResult | None:
        found = CachingConfigRepository.load_config(self, config_path)
        self.loads[config_path] += 1
        if found and self.loads[config_path] > MAX_INCLUDED * _LOADS_PER_INCLUSION:
            problem = f"refers to itself, or is included more than {MAX_INCLUDED} times"
            raise ConfigError(found.path, problem, "shorten the defaults lists that name it")
        return found


def _may_add(override: Override) -> bool:
    """Whether the override may add names below a setting that can be a mapping."""
    section, *names = override.key_or_group.split(".")
    is_mapping = isinstance(override.value(), dict)
    is_change = override.type is OverrideType.CHANGE and section in OPEN_GROUPS
    return is_change and len(names) + is_mapping > 1
