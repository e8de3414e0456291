"""Turns a section of plain values into its typed schema, strictly: nothing is guessed or cast."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from runner.checks import shown as shown_in_python
from runner.config.groups import GroupNames
from runner.errors import ConfigError, RunnerError, nearest
from runner.lengths import Length, check_length

Schema = TypeVar("Schema")
ONE_GROUP = GroupNames()
Lengths = tuple[Length, ...]
# A number for all groups of parameters, or one for each; YAML may name the groups.
Rates = float | tuple[float, ...]

# What OmegaConf leaves in the place of a mandatory value that nobody gave.
MISSING = "???"


def convert(
    schema: type[Schema], section: Any, *, key: str, groups: GroupNames = ONE_GROUP
) -> Schema:
    """The ``schema`` made of ``section``, whose keys must be exactly the schema's fields.

    Numbers by the names of ``groups`` become tuples in their order.

    Raises:
      ConfigError: a key is unknown or missing, or a value is not of the field's type or fails the
        schema's checks; its key starts with ``key``, which is empty for the top level.
    """
    known = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    check_keys(section, known=known, required=known, key=key)
    kinds = get_type_hints(schema)
    prefix = f"{key}." if key else ""
    values = {name: _value(kinds[name], section[name], f"{prefix}{name}", groups) for name in known}
    try:
        return schema(**values)
    except ConfigError as error:
        error = _of_group(error, section, groups)
        raise (error.under(key) if key else error) from error


def rates(value: Any, *, key: str, groups: GroupNames = ONE_GROUP) -> Any:
    """A number for all groups; or the tuple of one for each, which a list or a mapping gives.

    Raises:
      ConfigError: what it is made of are no numbers, or they do not go with the groups.
    """
    if isinstance(value, Mapping):
        groups.check_names(value, key=key)
        numbers = {name: _one_of((float,), item, f"{key}.{name}") for name, item in value.items()}
    else:
        numbers = _one_of(get_args(Rates), value, key)
    if not isinstance(numbers, (dict, tuple)):
        return numbers
    if not numbers:
        raise ConfigError(key, "is empty", "write a number, or one for each group")
    return groups.in_order(numbers, key=key)


def _of_group(error: ConfigError, section: Any, groups: GroupNames) -> RunnerError:
    """The error with its key as it was written: not the place in the tuple that was made of it."""
    match = re.fullmatch(r"(\w+)\[(\d+)\]", error.key)
    if match is None or not isinstance(section[match[1]], Mapping):
        return error
    return ConfigError(f"{match[1]}.{groups.all_names[int(match[2])]}", error.problem, error.remedy)


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


def _value(kind: Any, value: Any, key: str, groups: GroupNames = ONE_GROUP) -> Any:
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    options = tuple(option for option in options if option is not NoneType)
    if options == get_args(Rates):
        return rates(value, key=key, groups=groups)
    if is_dataclass(options[0]) and not isinstance(value, options[0]):  # type: ignore[arg-type]
        return convert(options[0], value, key=key, groups=groups)  # type: ignore[type-var]
    if get_origin(options[-1]) is Mapping and (len(options) == 1 or isinstance(value, Mapping)):
        return _mapping(options[-1], value, key)
    if options == (Lengths,) and isinstance(value, list):
        return tuple(_value(Length, item, f"{key}[{i}]") for i, item in enumerate(value))
    return _one_of(options, value, key)


def _one_of(options: tuple[Any, ...], value: Any, key: str) -> Any:
    if options == (int, str):  # lengths.Length
        check_length(value, key=key)
        return value
    for option in options:
        if _fits(option, value):
            return _plain(option, value, key)
    if len(options) == 1 and get_origin(options[0]) is Literal:
        names = get_args(options[0])
        problem = f"{shown(value)} is none of {', '.join(names)}"
        raise ConfigError(key, problem, nearest(str(value)[:40], names))
    nouns, examples = zip(*map(_words, options), strict=True)
    raise ConfigError(
        key, f"{shown(value)} is not {' or '.join(nouns)}", f"write {' or '.join(examples)}"
    )


def _mapping(kind: Any, value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"{shown(value)} is not a mapping", f"set its keys: {key}.name=...")
    _, kind_of_item = get_args(kind)
    return {str(name): _value(kind_of_item, item, f"{key}.{name}") for name, item in value.items()}


def _plain(option: Any, value: Any, key: str) -> Any:
    """A value that fits ``option``: whole numbers become the floats they are meant as."""
    if option is float:
        return _number(value, key)
    if option == tuple[float, ...]:
        return tuple(_number(item, key) for item in value)
    return tuple(value) if isinstance(value, list) else value


def _words(option: Any) -> tuple[str, str]:
    """What ``option`` is called, and an example of it."""
    if get_origin(option) is Literal:
        return " or ".join(get_args(option)), " or ".join(get_args(option))
    if get_origin(option) is Mapping:
        return "a mapping", "one by name"
    return _WORDS[option]


def _fits(option: Any, value: Any) -> bool:
    if get_origin(option) is Literal:
        return isinstance(value, str) and value in get_args(option)
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if get_origin(option) is Mapping:
        return False  # taken care of before
    if get_origin(option) is tuple:
        return isinstance(value, list) and all(_fits(get_args(option)[0], item) for item in value)
    return isinstance(value, option) and value != MISSING


def shown(value: Any) -> str:
    """``value`` as an error shows it: one short line, with YAML's words for what has some."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return shown_in_python(value)


def _number(value: Any, key: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(key, "is beyond what float32 holds", "write a smaller number") from error


_WORDS: Mapping[Any, tuple[str, str]] = {
    int: ("a whole number", "one such as 64"),
    float: ("a number", "one such as 0.1"),
    bool: ("true or false", "true or false"),
    str: ("a text", "a text"),
    tuple[float, ...]: ("a list of numbers", "one such as [0.1,0.2]"),
    Lengths: ("a list of lengths", "one such as [500,800] or [50%,75%]"),
    tuple[int, ...]: ("a list of whole numbers", "one such as [128,128]"),
    tuple[str, ...]: ("a list of texts", "one such as [this,that]"),
}
