"""Errors about settings: an unknown key, a missing value, a value that pydantic rejects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from runner.config.lengths import without_point
from runner.config.markers import is_list
from runner.errors import ConfigError, RunnerError, nearest, shown

if TYPE_CHECKING:
    from pydantic_core import ValidationError

SEE_HELP = "python -m runner --help lists groups and options, --cfg job every setting"
NO_SETTING = "there is no such setting"

# pydantic's type of error → the expected kind of value, and what to write.
_NOUNS = {
    "int_type": ("a whole number", "one such as 64"),
    "float_type": ("a number", "one such as 0.1"),
    "bool_type": ("true or false", "true or false"),
    "string_type": ("a string", "a string"),
    "list_type": ("a list", "one such as [1,2]"),
    "tuple_type": ("a list", "one such as [1,2]"),
    "dict_type": ("a mapping", "one such as {name: value}"),
    "none_required": ("null", "null"),
}


def section_error(
    error: ValidationError, section: Any, annotations: Mapping[str, Any], prefix: str
) -> RunnerError:
    """The most important error: an unknown key, else a missing one, else an invalid value.

    Args:
      annotations: those of all settings, by name.
      prefix: what the keys in the section begin with.
    """
    errors, order = error.errors(include_url=False), {"extra_forbidden": 0, "missing": 1}
    first = min(errors, key=lambda each: order.get(each["type"], 2))  # then in the order of fields
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return unknown_setting(f"{prefix}{name}", [f"{prefix}{own}" for own in annotations])
    if first["type"] == "missing":
        return missing_value(f"{prefix}{name}")
    same = [each for each in errors if each["loc"][0] == name]
    return value_error(f"{prefix}{name}", same, section[name], annotations[name])


def unknown_setting(key: str, known: Iterable[str]) -> ConfigError:
    """The error for a dotted key that is not a setting.

    Args:
      known: the dotted keys of all settings, or of those in the same section.
    """
    keys, (section, _, name) = [*known], key.rpartition(".")
    own = {each.rpartition(".")[2] for each in keys if each.rpartition(".")[0] == section}
    if section and (own == {"name"} or not keys):
        return ConfigError(key, NO_SETTING, f"{section} takes no settings here")
    remedy = nearest(name, own) if own else nearest(key, keys)
    return ConfigError(key or "command line", NO_SETTING, remedy if len(remedy) < 200 else SEE_HELP)


def value_error(key: str, errors: Sequence[Any], value: Any, annotation: Any = None) -> RunnerError:
    """The error for an invalid value; for a union, ``errors`` has one or more per member.

    The errors deepest within the value count; of those, a ConfigError comes first, since it means
    that the type is right.
    """
    places = [_place(value, error["loc"][1:]) for error in errors]
    deepest = max(places, key=len)
    errors = [each for each, place in zip(errors, places, strict=True) if place == deepest]
    key += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in deepest)
    for each in errors:
        if isinstance(problem := each.get("ctx", {}).get("error"), ConfigError):
            return problem.under(key)
    first = errors[0]
    if first["type"] == "too_short":
        kind = "mapping" if isinstance(first["input"], Mapping) else "list"
        return ConfigError(key, f"the {kind} is empty", "write at least one entry")
    if len(errors) == 1 and first["type"] == "literal_error":
        names = _literals(annotation)
        remedy = nearest(str(first["input"])[:40], names)
        problem = f"{shown(first['input'])} is not one of {', '.join(names)}"
        return ConfigError(key, problem, "write one of them" if ":" in remedy else remedy)
    nouns, examples = zip(*(_noun(each, annotation) for each in errors), strict=True)
    problem = f"{shown(first['input'])} is not {' or '.join(nouns)}"
    return ConfigError(key, problem, f"write {' or '.join(examples)}")


def _place(value: Any, location: Sequence[Any]) -> list[Any]:
    """The steps of pydantic's ``location`` that lead into ``value``; others name union members."""
    place = []
    for step in location:
        is_index = is_list(value) and isinstance(step, int)
        if is_index or (isinstance(value, Mapping) and step in value):
            place.append(step)
            value = value[step]
    return place


def _noun(error: Any, annotation: Any) -> tuple[str, str]:
    if error["type"] == "literal_error":
        names = " or ".join(_literals(annotation))
        return names, names
    if error["type"] == "int_type" and (whole := without_point(error["input"])):
        return "a whole number", whole
    return _NOUNS.get(error["type"], (error["msg"], "another value"))


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(name) for name in get_args(annotation)]
    return [name for member in get_args(annotation) for name in _literals(member)]


def missing_value(key: str) -> ConfigError:
    return ConfigError(key, "has no value", f"give one: {key}=...")
