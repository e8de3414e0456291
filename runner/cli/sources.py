"""Where configuration files come from: the runner's ``conf/`` and the folders a user names."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import runner
from runner.cli.interpolation import check_expansion, register_resolvers
from runner.cli.settings_file import read_settings_file
from runner.errors import ConfigError

PACKAGE = Path(runner.__file__).resolve().parent
# In the wheel, conf/ lies inside the package; in a checkout, beside it.
CONF = next((c for c in (PACKAGE / "conf", PACKAGE.parent / "conf") if c.is_dir()), PACKAGE)
_OURS = ("help", "hydra_logging", "job_logging")


class SettingsFolder(ConfigSource):
    """A folder of YAML files that never reads a file outside of it (compared by real path)."""

    @staticmethod
    def scheme() -> str:
        return "settings"

    @property
    def is_users(self) -> bool:
        return Path(self.path) != CONF

    def available(self) -> bool:
        return os.path.isdir(self.path)

    def is_group(self, config_path: str) -> bool:
        return os.path.isdir(self._place(config_path))

    def is_config(self, config_path: str) -> bool:
        return os.path.isfile(self._place(self._normalize_file_name(config_path)))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found: list[str] = []
        for name in os.listdir(self._place(config_path)):
            self._list_add_result(found, f"{config_path}/{name}".lstrip("/"), name, results_filter)
        return sorted(set(found))

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self._place(self._normalize_file_name(config_path)))
        text = read_settings_file(path) if self.is_users else path.read_text(encoding="utf-8")
        config: Any = OmegaConf.load(StringIO(text))
        if self.is_users:
            _check_search_path(config, path)
            if "/" not in config_path and "defaults" not in config:
                _complete(config, path.with_name("hydra.yaml"))
        header = self._get_header_dict(text)
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", config, header)

    def _place(self, name: str) -> str:
        place = os.path.realpath(os.path.join(self.path, name))
        inside = os.path.commonpath([place, os.path.realpath(self.path)])
        if ".." in name.split("/") or inside != os.path.realpath(self.path):
            group, _, option = name.removesuffix(".yaml").partition("/")
            problem = f"{option or group!r} is outside the folder {self.path}"
            remedy = "copy it there, or name its folder by --config-dir"
            raise ConfigError(group or "defaults", problem, remedy)
        return place


def start_hydra(main: Path, folders: list[Path]) -> Any:
    """Hydra's object for one command line; from here on it is the only one of the process.

    Its search path is ``folders``, then ``main``, then Hydra's own: a user's file is found first.
    """
    register_resolvers()
    with _without_current_folder():
        Plugins.instance().register(SettingsFolder)
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), job_name="runner", version_base="1.3")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    search_path: ConfigSearchPath = hydra.config_loader.get_search_path()
    elements = search_path.get_path()
    elements[:] = [element for element in elements if element.provider != "main"]
    search_path.prepend("main", f"{SettingsFolder.scheme()}://{main}")
    for folder in reversed(folders):
        search_path.prepend("command-line", f"{SettingsFolder.scheme()}://{folder}")
    return hydra


def named_folder(flag: str, name: str) -> Path:
    """The folder ``name`` that ``flag`` names.

    Raises:
      ConfigError: there is no such folder.
    """
    scheme, _, path = name.rpartition("://")
    try:
        folder = Path(path).absolute()
        if scheme in ("", "file") and folder.is_dir():
            return folder
    except (OSError, ValueError):  # a name of 300 letters
        pass
    raise ConfigError(flag, f"{path if scheme == 'file' else name!r} is not a folder", "name one")


def _check_search_path(config: Any, path: Path) -> None:
    """Refuses ``hydra.searchpath``, which Hydra acts on as it loads a file."""
    if not OmegaConf.is_dict(config):
        return
    settings: Any = OmegaConf.to_container(config, resolve=False)
    check_expansion(settings)
    try:
        found = OmegaConf.select(config, "hydra.searchpath")
    except OmegaConfBaseException:
        found = "what cannot be resolved"
    if found is not None:
        problem = "a file may not set hydra.searchpath"
        raise ConfigError(str(path), problem, "name the folder on the command line: --config-dir")


def _complete(config: Any, record: Path) -> None:
    """Adds the runner's settings of Hydra to a configuration that names no defaults.

    So a run is repeated from its ``.hydra/config.yaml``. What its options were called stands in the
    ``record`` beside it.
    """
    ours: Any = OmegaConf.load(CONF / "config.yaml")
    config.defaults = [*({f"override hydra/{group}": "runner"} for group in _OURS), "_self_"]
    if "hydra" in config:
        return
    config.hydra = {"run": ours.hydra.run, "sweep": ours.hydra.sweep}
    with suppress(OSError, ValueError, AttributeError, yaml.YAMLError):
        told = yaml.safe_load(record.read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
        names = {key: name for key, name in told.items() if isinstance(name, str) and key in config}
        config.hydra.runtime = {"choices": names}


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Keeps Hydra from importing ``hydra_plugins/`` of whatever folder the user is in."""
    first = sys.path[0] if sys.path else None
    is_current = first is not None and Path(first or ".").resolve() == Path.cwd().resolve()
    if not is_current or Path.cwd().resolve() == PACKAGE.parent:
        yield
        return
    del sys.path[0]
    try:
        yield
    finally:
        sys.path.insert(0, str(first))
