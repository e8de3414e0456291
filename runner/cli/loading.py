"""Hydra's own loader, made to look at files before it reads them and to open what users name."""

from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from omegaconf import Container, DictConfig, Node, OmegaConf
from omegaconf.resolvers import oc

import runner
from runner.cli.screening import screen_file
from runner.errors import ConfigError

PACKAGE = Path(runner.__file__).resolve().parent
# In the wheel, conf/ lies inside the package; in a checkout, beside it.
CONF = next((c for c in (PACKAGE / "conf", PACKAGE.parent / "conf") if c.is_dir()), PACKAGE)

# Groups with settings that may be mappings, whose names are the user's to choose.
OPEN_GROUPS = ("scheduler", "optimizer")


def start_hydra(config_path: str | None, config_dir: str | None) -> Hydra:
    """Hydra with the search path of a command line; it is the only one of the process from here on.

    Raises:
      ConfigError: one of the two names no folder.
    """
    # A text must not become a mapping, in which Hydra could find a _target_ that nobody screened.
    OmegaConf.clear_resolver("oc.create")
    OmegaConf.register_new_resolver("oc.decode", _decode, replace=True)
    main = str(CONF)
    if config_path is not None:
        is_package = config_path.startswith("pkg://")
        main = config_path if is_package else _folder("--config-path", config_path)
    search_path = create_config_search_path(main)
    if config_dir is not None:
        folder = _folder("--config-dir", config_dir)
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    SourcesRegistry.instance().types["file"] = ScreenedFiles
    GlobalHydra.instance().clear()
    hydra = Hydra("runner", OpenLoader(search_path))
    GlobalHydra.instance().initialize(hydra)
    return hydra


class ScreenedFiles(FileConfigSource):
    """Hydra's folder of YAML files, each looked at before it is read; ours are trusted."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.is_file() and Path(self.path) != CONF:
            screen_file(path)
        return super().load_config(config_path)


class OpenLoader(ConfigLoaderImpl):
    """Hydra's own, with settings below which the command line may add names without Hydra's +."""

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        cfg = super().load_configuration(config_name, overrides, *args, **kwargs)
        added = [line.partition("=")[0].lstrip("+") for line in overrides if line.startswith("+")]
        for group, known in self._settings.items():
            for name in cfg.get(group) or {}:
                key = f"{group}.{name}"
                if name not in known and not any(
                    f"{line}.".startswith(f"{key}.") for line in added
                ):
                    raise ConfigCompositionException(f"Could not override '{key}'.")
        return cfg

    def _compose_config_from_defaults_list(self, *args: Any, **kwargs: Any) -> DictConfig:
        cfg = super()._compose_config_from_defaults_list(*args, **kwargs)
        self._settings: dict[str, list[Any]] = {}
        for group in OPEN_GROUPS:
            if isinstance(cfg.get(group), DictConfig):
                OmegaConf.set_struct(cfg[group], False)
                self._settings[group] = list(cfg[group])
        return cfg


def _folder(flag: str, name: str) -> str:
    folder = Path(name).absolute()
    if not folder.is_dir():
        raise ConfigError(flag, f"{name!r} is not a folder", "name one that exists")
    return str(folder)


def _decode(text: str | None, _parent_: Container, _node_: Node) -> Any:
    value = oc.decode(text, _parent_, _node_)
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list, Container)) for item in items):
        raise ValueError("oc.decode gives a number, a text or a list of them, nothing else")
    return value
