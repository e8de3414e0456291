"""Turns a section of plain values into its typed schema, strictly: nothing is guessed or cast."""

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from runner.checks import shown
from runner.errors import ConfigError, nearest
from runner.lengths import check_length

Schema = TypeVar("Schema")

# What OmegaConf leaves in the place of a mandatory value that nobody gave.
MISSING = "???"


def convert(schema: type[Schema], section: Any, *, key: str) -> Schema:
    """The ``schema`` made of ``section``, whose keys must be exactly the schema's fields.

    Raises:
      ConfigError: a key is unknown or missing, or a value is not of the field's type or fails the
        schema's checks; its key starts with ``key``, which is empty for the top level.
    """
    known = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    check_keys(section, known=known, required=known, key=key)
    kinds = get_type_hints(schema)
    prefix = f"{key}." if key else ""
    values = {name: _value(kinds[name], section[name], f"{prefix}{name}") for name in known}
    try:
        return schema(**values)
    except ConfigError as error:
        raise (error.under(key) if key else error) from error


def check_keys(section: Any, *, known: list[str], required: list[str], key: str) -> None:
    """Checks that ``section`` is a mapping of ``known`` keys that lacks none of ``required``.

    Raises:
      ConfigError: otherwise; for an unknown key the nearest known one is named.
    """
    if not isinstance(section, Mapping):
        example = f"such as {key}.{known[0]}" if known else "or leave it out"
        raise ConfigError(key, f"{shown(section)} is not a mapping", f"set its keys, {example}")
    prefix = f"{key}." if key else ""
    for name in section:
        if name not in known:
            remedy = nearest(str(name), known) if known else f"{key} takes no settings here"
            raise ConfigError(f"{prefix}{name}", "there is no such setting", remedy)
    for name in required:
        if name not in section or section[name] == MISSING:
            raise ConfigError(f"{prefix}{name}", "has no value", f"give one: {prefix}{name}=...")


def _value(kind: Any, value: Any, key: str) -> Any:
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    options = tuple(option for option in options if option is not NoneType)
    if options == (int, str):  # lengths.Length
        check_length(value, key=key)
        return value
    for option in options:
        if _fits(option, value):
            return _number(value, key) if option is float else _frozen(value)
    problem, remedies = _refusal(value), [_REMEDIES.get(option, "") for option in options]
    for place, option in enumerate(options):
        if get_origin(option) is Literal:
            names = [str(name) for name in get_args(option)]
            problem = f"{shown(value)} is none of {', '.join(names)}"
            remedies[place] = nearest(str(value)[:40], names)
        elif len(options) == 1:
            problem = f"{shown(value)} is not {_NOUNS[option]}"
    raise ConfigError(key, problem, " or ".join(filter(None, remedies)))


def _fits(option: Any, value: Any) -> bool:
    if get_origin(option) is Literal:
        return isinstance(value, str) and value in get_args(option)
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if option == tuple[int, ...]:
        return isinstance(value, list) and all(_fits(int, item) for item in value)
    return isinstance(value, option) and value != MISSING


def _refusal(value: Any) -> str:
    return "null is not allowed" if value is None else f"{shown(value)} is not allowed"


def _number(value: int | float, key: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(key, "is beyond what float32 holds", "write a smaller number") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_NOUNS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple[int, ...]: "a list of whole numbers",
    tuple[str, ...]: "a list of names",
}
_REMEDIES: Mapping[Any, str] = {
    int: "write one such as 64",
    float: "write one such as 0.1",
    bool: "write true or false",
    str: "write a text",
    tuple[int, ...]: "write one such as [128,128]",
    tuple[str, ...]: "write one such as [my_models]",
}
