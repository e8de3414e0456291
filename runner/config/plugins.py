"""Plugins: importing them, and a config option for each part that they register."""

import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runner.config.signature import MISSING, parameters
from runner.registry import GROUPS, PLUGIN_ENTRY_POINTS, import_plugins


def import_named(modules: Iterable[str]) -> None:
    """Imports the plugins that the command line names; also searches the current folder.

    Raises:
      ConfigError: a plugin cannot be imported.
    """
    if modules and str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    import_plugins(modules)


def entry_point_names() -> list[str]:
    """Names of the installed entry points, none of which is loaded."""
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return sorted(entry_point.name for entry_point in entry_points(group=PLUGIN_ENTRY_POINTS))


def registered_options() -> dict[tuple[str, str], dict[str, Any]]:
    """(group, name) → settings and defaults, for every factory that a plugin has registered.

    A keyword without a default is mandatory: its value is ``???``. A default that YAML cannot
    express is left to the factory.
    """
    return {
        (group, name): {"name": name, **_defaults(factory, registry.supplied)}
        for group, registry in GROUPS.items()
        for name, factory in registry.plugins().items()
    }


def _defaults(factory: Any, supplied: frozenset[str]) -> dict[str, Any]:
    defaults = {}
    for name, parameter in parameters(factory).items():
        if parameter.kind is parameter.VAR_KEYWORD or name in supplied:
            continue
        if parameter.default is inspect.Parameter.empty:
            defaults[name] = MISSING
        elif _is_plain(parameter.default):
            defaults[name] = _plain(parameter.default)
    return defaults


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value
