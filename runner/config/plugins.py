"""What a user's own packages add: loading them, and an option in each group for what they name."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from runner import registry
from runner.config.convert import MISSING, check_keys
from runner.errors import ConfigError, nearest
from runner.registry import GROUPS, PLUGIN_ENTRY_POINTS

# Arguments that the runner gives to a factory itself; they are no settings.
SUPPLIED: Mapping[str, frozenset[str]] = {
    "model": frozenset({"num_classes"}),
    "optimizer": frozenset({"learning_rate"}),
}


def import_named(modules: list[str]) -> None:
    """Imports the packages that the command line names; the current folder is searched as well.

    Raises:
      ConfigError: one cannot be imported.
    """
    if modules and str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    registry.import_plugins(modules)


def entry_point_names() -> list[str]:
    """Names of the installed entry points; none of them is loaded."""
    return sorted(entry_point.name for entry_point in entry_points(group=PLUGIN_ENTRY_POINTS))


def registered_options() -> dict[tuple[str, str], dict[str, Any]]:
    """(group, name) → settings with their defaults, for every factory registered so far.

    A keyword without a default is mandatory: its value is ``???``. A default that YAML cannot say
    is left to the factory.
    """
    return {
        (group, name): {"name": name, **_defaults(group, GROUPS[group].get(name))}
        for group in GROUPS
        for name in GROUPS[group].names()
    }


def check_arguments(
    group: str,
    name: str,
    arguments: Mapping[str, Any],
    *,
    built_in: Iterable[str],
    reserved: Iterable[str] = (),
    key: str = "",
) -> dict[str, Any]:
    """Checks the settings of an option that a plugin brings against its factory's signature.

    They are returned with whole numbers made floats where the factory's default is a float: the
    type of a number decides whether it is compiled in. ``key`` is where the option stands,
    the group's name if empty; ``reserved`` are settings that every option of the group has.

    Raises:
      ConfigError: there is no such factory, or it does not take these arguments, or takes one
        whose name is reserved.
    """
    key = key or group
    if name not in GROUPS[group].names():
        registry.load_entry_points()
    names = GROUPS[group].names()
    if name not in names:
        remedy = nearest(name, {*names, *built_in})
        raise ConfigError(f"{key}.name", f"there is no {group} {name!r}", remedy)
    parameters = _settings(group, GROUPS[group].get(name))
    for taken in sorted(parameters.keys() & set(reserved)):
        problem = f"has an argument {taken}, which is a setting of every {group}"
        raise ConfigError(f"the {group} {name!r}", problem, "give it another name")
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [key for key, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    required = [key for key in named if parameters[key].default is inspect.Parameter.empty]
    known = named + [key for key in arguments if open_ended and key not in SUPPLIED.get(group, ())]
    check_keys(arguments, known=known, required=required, key=key)
    floats = {key for key, p in parameters.items() if type(p.default) is float}
    return {
        key: float(value) if key in floats and type(value) is int else value
        for key, value in arguments.items()
    }


def check_scale_fn_name(name: str) -> None:
    """Checks that a function is registered as ``name``.

    Raises:
      ConfigError: there is none, even after the installed plugins are loaded.
    """
    if name not in registry.scale_fns.names():
        registry.load_entry_points()
    if name not in registry.scale_fns.names():
        raise ConfigError(
            "scale_fn",
            f"{name!r} is neither an expression in x nor the name of a registered function",
            f"write an expression such as 1 / x ({nearest(name, registry.scale_fns.names())})",
        )


def _settings(group: str, factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that may be set by keyword, without those that the runner supplies."""
    parameters = inspect.signature(factory).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY)
        and key not in SUPPLIED.get(group, ())
    }


def _defaults(group: str, factory: Callable[..., Any]) -> dict[str, Any]:
    defaults = {}
    for key, parameter in _settings(group, factory).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            defaults[key] = MISSING
        elif _is_plain(parameter.default):
            defaults[key] = _plain(parameter.default)
    return defaults


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
