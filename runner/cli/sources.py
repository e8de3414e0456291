"""Sources of configuration files: the runner's ``conf/`` and folders that the user names."""

import os
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

import runner
from runner.cli.interpolation import register_resolvers
from runner.cli.settings_file import read_record, read_settings_file
from runner.errors import ConfigError

PACKAGE = Path(runner.__file__).resolve().parent
# In the wheel, conf/ lies inside the package; in a checkout, beside it.
CONF = next((c for c in (PACKAGE / "conf", PACKAGE.parent / "conf") if c.is_dir()), PACKAGE)
# The provider of files that are not the runner's own.
USERS = "user"
_OURS = ("help", "hydra_logging", "job_logging")


class SettingsFolder(ConfigSource):
    """A folder of YAML files; a file whose real path is outside of it is never read."""

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
        if is_users and "/" not in config_path and "defaults" not in config:
            _complete(config, path.with_name("hydra.yaml"))
        header = self._get_header_dict(text)
        return ConfigResult(USERS if is_users else self.provider, str(path), config, header)

    def _place(self, name: str) -> str:
        place = os.path.realpath(os.path.join(self.path, name))
        inside = os.path.commonpath([place, os.path.realpath(self.path)])
        if ".." in name.split("/") or inside != os.path.realpath(self.path):
            group, _, option = name.removesuffix(".yaml").partition("/")
            problem = f"{option or group!r} is outside the folder {self.path}"
            remedy = "copy it there, or name its folder with --config-dir"
            raise ConfigError(group or "defaults", problem, remedy)
        return place


def search_path(main: Path, folders: list[Path]) -> ConfigSearchPath:
    """Makes Hydra search ``folders``, then ``main``, then its own; the first file found is used.

    ``GlobalHydra``, which holds the search path, is initialised again.
    """
    register_resolvers()
    paths, here = list(sys.path), Path.cwd().resolve()
    if here != PACKAGE.parent:  # else Hydra imports hydra_plugins/ in the current folder
        sys.path[:] = [path for path in paths if Path(path or ".").resolve() != here]
    try:
        Plugins.instance().register(SettingsFolder)
    finally:
        sys.path[:] = paths
    GlobalHydra.instance().clear()
    initialize_config_dir(str(CONF), job_name="runner", version_base="1.3")
    path = GlobalHydra.instance().config_loader().get_search_path()
    elements = path.get_path()
    elements[:] = [element for element in elements if element.provider != "main"]
    for folder in [main, *reversed(folders)]:
        provider = "main" if folder is main else "command-line"
        path.prepend(provider, f"{SettingsFolder.scheme()}://{folder}")
    return path


def named_folder(flag: str, name: str) -> Path:
    """The folder called ``name``, for the flag ``flag``.

    Raises:
      ConfigError: there is no such folder.
    """
    scheme, _, path = name.rpartition("://")
    with suppress(OSError, ValueError):  # the name may be too long
        folder = Path(path).absolute()
        if scheme in ("", "file") and folder.is_dir():
            return folder
    raise ConfigError(flag, f"{path if scheme == 'file' else name!r} is not a folder", "name one")


def _complete(config: Any, record: Path) -> None:
    """Adds the runner's settings of Hydra to a configuration without a defaults list.

    This is how a run is repeated from its ``.hydra/config.yaml``; the names of its options are in
    the ``record`` beside it.
    """
    config.defaults = [*({f"override hydra/{group}": "runner"} for group in _OURS), "_self_"]
    if "hydra" in config:
        return
    ours: Any = OmegaConf.load(CONF / "config.yaml")
    config.hydra = OmegaConf.masked_copy(ours.hydra, ["run", "sweep"])
    with suppress(TypeError, AttributeError, LookupError):
        recorded = read_record(record)["hydra"]["runtime"]["choices"]
        names = {
            key: name for key, name in recorded.items() if isinstance(name, str) and key in config
        }
        config.hydra.runtime = {"choices": names}
