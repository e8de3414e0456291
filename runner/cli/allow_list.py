"""The settings of Hydra that a configuration file may change."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from runner.cli.reserved import CACHE, DOWNLOAD, RESUME
from runner.config import Config
from runner.errors import ConfigError

_FOLDERS = ("run.dir", "sweep.dir", "sweep.subdir")
_SETTINGS = set(Config.__dataclass_fields__) - {"plugins", CACHE, RESUME}


def check_allowed(settings: Mapping[Any, Any], file: str) -> None:
    """Raises ConfigError if ``file`` sets something that only the command line may set.

    Args:
      settings: the file's settings in their package, interpolations unresolved.
    """
    for key, value in dotted({"hydra": settings.get("hydra", {})}):
        if not isinstance(value, Mapping) and not _is_allowed(key.removeprefix("hydra."), value):
            remedy = f"give it on the command line ({key}=...)"
            raise ConfigError(file, f"a file may not set {key}", remedy)


def plain(cfg: Any) -> Any:
    """``cfg`` as plain containers, interpolations unresolved."""
    return OmegaConf.to_container(cfg, resolve=False)


def dotted(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted key, value) pairs of a mapping and of every mapping inside it."""
    for key, item in value.items():
        yield f"{prefix}{key}", item
        if isinstance(item, Mapping):
            yield from dotted(item, f"{prefix}{key}.")


def _is_allowed(key: str, value: Any) -> bool:
    section, _, name = key.partition(".")
    if key in _FOLDERS:
        return isinstance(value, str)
    if key == "mode":
        return value in ("RUN", "MULTIRUN")
    if key == "verbose" or key.startswith("runtime.choices."):  # only displayed
        return "${" not in str(value)
    if name.startswith("params.") and section == "sweeper":
        # The runner's own settings: scheduler@scheduler.parts.x, +optimizer.groups.head, ...
        places = re.split("[@:]", name.removeprefix("params.").lstrip("+~"))
        allowed = (re.split(r"[./\[]", place)[0] in _SETTINGS for place in places)
        return all(allowed) and DOWNLOAD not in places
    # Only numbers: a plugin may use a string as a command, a path or an expression.
    is_public = name != "" and not name.startswith("_") and "._" not in name
    return section in ("launcher", "sweeper") and is_public and not isinstance(value, (str, list))
