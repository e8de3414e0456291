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
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

import runner
from runner.cli.allow_list import check_allowed, plain
from runner.cli.interpolation import register_resolvers
from runner.cli.settings_file import read_settings_file
from runner.errors import ConfigError

PACKAGE = Path(runner.__file__).resolve().parent
# In the wheel, conf/ lies inside the package; in a checkout, beside it.
CONF = next((c for c in (PACKAGE / "conf", PACKAGE.parent / "conf") if c.is_dir()), PACKAGE)
# What the provider of a file is called that is not the runner's own.
USERS = "user"
_OURS = ("help", "hydra_logging", "job_logging")


class SettingsFolder(ConfigSource):
    """A folder of YAML files that never reads a file outside of it (compared by real path)."""

    @staticmethod
    def scheme() -> str:
        return "settings"

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
        is_users = Path(self.path) != CONF
        text = read_settings_file(path) if is_users else path.read_text(encoding="utf-8")
        config: Any = OmegaConf.load(StringIO(text))
        if is_users:
            check_allowed(plain(config), str(path))
            if "/" not in config_path and "defaults" not in config:
                _complete(config, path.with_name("hydra.yaml"))
        header = self._get_header_dict(text)
        return ConfigResult(USERS if is_users else self.provider, str(path), config, header)

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
    hydra: Any = GlobalHydra.instance().hydra
    search_path = hydra.config_loader.get_search_path()
    elements = search_path.get_path()
    elements[:] = [element for element in elements if element.provider != "main"]
    for folder in [main, *reversed(folders)]:
        provider = "main" if folder is main else "command-line"
        search_path.prepend(provider, f"{SettingsFolder.scheme()}://{folder}")
    return hydra


def named_folder(flag: str, name: str) -> Path:
    """The folder ``name`` that ``flag`` names.

    Raises:
      ConfigError: there is no such folder.
    """
    scheme, _, path = name.rpartition("://")
    with suppress(OSError, ValueError):  # a name of 300 letters
        folder = Path(path).absolute()
        if scheme in ("", "file") and folder.is_dir():
            return folder
    raise ConfigError(flag, f"{path if scheme == 'file' else name!r} is not a folder", "name one")


def _complete(config: Any, record: Path) -> None:
    """Adds the runner's settings of Hydra to a configuration that names no defaults.

    So a run is repeated from its ``.hydra/config.yaml``. What its options were called stands in the
    ``record`` beside it.
    """
    config.defaults = [*({f"override hydra/{group}": "runner"} for group in _OURS), "_self_"]
    if "hydra" in config:
        return
    ours: Any = OmegaConf.load(CONF / "config.yaml")
    config.hydra = OmegaConf.masked_copy(ours.hydra, ["run", "sweep"])
    with suppress(OSError, ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError):
        told = yaml.safe_load(record.read_text(encoding="utf-8"))["hydra"]["runtime"]["choices"]
        names = {key: name for key, name in told.items() if isinstance(name, str) and key in config}
        config.hydra.runtime = {"choices": names}


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Keeps Hydra from importing ``hydra_plugins/`` of whatever folder the user is in."""
    here, paths = Path.cwd().resolve(), list(sys.path)
    if here != PACKAGE.parent:
        sys.path[:] = [path for path in paths if Path(path or ".").resolve() != here]
    try:
        yield
    finally:
        sys.path[:] = paths
