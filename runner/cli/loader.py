"""Hydra's loader, which composes only what a configuration file may set: an allow-list."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Hydra's public loader is an interface only. Every composition goes through load_configuration,
# those of launchers and sweepers included.
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from runner.cli.interpolation import check_expansion
from runner.cli.sources import SettingsFolder
from runner.config import Config
from runner.errors import ConfigError

# Groups with settings that may be mappings, whose names are the user's to choose.
OPEN_GROUPS = ("scheduler", "optimizer")
_FOLDERS = ("run.dir", "sweep.dir", "sweep.subdir")
_PLUGIN_GROUPS = ("hydra/launcher", "hydra/sweeper")
_TEXTS = (str, list)
_SETTINGS = set(Config.__dataclass_fields__) - {"plugins"}


class SettingsLoader(ConfigLoaderImpl):
    """Composes configurations of files that are not trusted and overrides that are."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(overrides)
        lines = self._opened(config_name, parsed)
        self._check_files(config_name, lines, run_mode)
        cfg = ConfigLoaderImpl.load_configuration(
            self, config_name, lines, run_mode, from_shell, validate_sweep_overrides
        )
        typed = [override.input_line for override in parsed if not override.is_hydra_override()]
        cfg.hydra.overrides.task = typed
        check_expansion(plain(cfg))
        return cfg

    def is_group(self, name: str) -> bool:
        return bool(name) and any(source.is_group(name) for source in self.get_sources())

    def settings(self, config_name: str | None, parsed: Sequence[Override]) -> dict[str, Any]:
        """Every setting by dotted key, of the options that ``parsed`` choose."""
        chosen = [str(o.input_line) for o in parsed if self.is_group(o.key_or_group)]
        self._check_files(config_name, chosen, RunMode.MULTIRUN)
        cfg = ConfigLoaderImpl.load_configuration(
            self, config_name, chosen, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        return dict(dotted(plain(cfg)))

    def choices(self, config_name: str | None) -> dict[str, str | None]:
        """The options that the files choose, by group (and package)."""
        found = self.compute_defaults_list(config_name, [], RunMode.MULTIRUN)
        return found.overrides.known_choices

    def _opened(self, config_name: str | None, parsed: list[Override]) -> list[str]:
        """The overrides, with Hydra's ``++`` where they add a name below a known setting."""
        lines = [str(override.input_line) for override in parsed]
        opened = [number for number, override in enumerate(parsed) if _may_add(override)]
        if opened:
            known = self.settings(config_name, parsed)
            for number in opened:
                key = parsed[number].key_or_group
                adds = key not in known or isinstance(parsed[number].value(), dict)
                if adds and ".".join(key.split(".")[:2]) in known:
                    lines[number] = f"++{lines[number]}"
        return lines

    def _check_files(self, config_name: str | None, lines: list[str], mode: RunMode) -> None:
        """Refuses, before it is merged, what a user's file may not set."""
        sources = self.get_sources()
        if not any(isinstance(source, SettingsFolder) and source.is_users for source in sources):
            return
        for default in self.compute_defaults_list(config_name, lines, mode).defaults:
            path = default.config_path or ""
            source = next((source for source in sources if source.is_config(path)), None)
            if isinstance(source, SettingsFolder) and source.is_users:
                placed = self._embed_result_config(source.load_config(path), default.package)
                check_allowed(plain(placed.config), f"{source.path}/{path}.yaml")
            elif source and not _may_be_chosen(path, source.scheme(), lines):
                group = path.rpartition("/")[0]
                raise ConfigError(group, "is chosen by a file", "choose it on the command line")


def check_allowed(settings: Mapping[Any, Any], file: str) -> None:
    """Refuses what a file may not set of Hydra's own settings.

    Args:
      settings: the file's, where they are merged; interpolations as written.

    Raises:
      ConfigError: names the file and the key.
    """
    for key, value in dotted({"hydra": settings.get("hydra", {})}):
        if not isinstance(value, Mapping) and not _is_allowed(key.removeprefix("hydra."), value):
            problem = f"sets {key}, which a file may not"
            raise ConfigError(file, problem, f"give it on the command line ({key}=...)")


def _is_allowed(key: str, value: Any) -> bool:
    section, _, name = key.partition(".")
    if key in _FOLDERS:
        return isinstance(value, str)
    if key == "mode":
        return value in ("RUN", "MULTIRUN")
    if key == "verbose":
        names = value if isinstance(value, list) else [value]
        return all("${" not in str(name) for name in names)
    if key.startswith("runtime.choices."):  # names to show
        return isinstance(value, str) and "${" not in value
    if name.startswith("params.") and section == "sweeper":
        return _names_settings(name.removeprefix("params."))
    # Numbers only: a text may be a command, a file or an expression to the plugin.
    is_public = name != "" and not name.startswith("_") and "._" not in name
    return section in ("launcher", "sweeper") and is_public and not isinstance(value, _TEXTS)


def _names_settings(key: str) -> bool:
    """Whether a swept key (``scheduler@scheduler.parts.x``) is within the runner's settings."""
    places = re.split("[@:]", key.lstrip("+~"))
    return all(re.split(r"[./\[]", place)[0] in _SETTINGS for place in places)


def _may_be_chosen(path: str, scheme: str, lines: list[str]) -> bool:
    """Whether a file may choose the option at ``path`` of those that no user's folder holds."""
    group = path.rpartition("/")[0]
    if scheme != "structured" or not path.startswith("hydra/") or path == "hydra/config":
        return True
    named = any(line.lstrip("+").startswith(f"{group}=") for line in lines)
    return named or group.startswith(_PLUGIN_GROUPS)


def _may_add(override: Override) -> bool:
    """Whether the override may add names below a setting that can be a mapping."""
    section, *names = override.key_or_group.split(".")
    is_mapping = isinstance(override.value(), dict)
    is_change = override.type is OverrideType.CHANGE and section in OPEN_GROUPS
    return is_change and len(names) + is_mapping > 1


def plain(cfg: Any) -> Any:
    """Containers of Python's, interpolations as written."""
    return OmegaConf.to_container(cfg, resolve=False)


def dotted(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Everything below a mapping by dotted key, sections included."""
    for key, item in value.items():
        yield f"{prefix}{key}", item
        if isinstance(item, Mapping):
            yield from dotted(item, f"{prefix}{key}.")
