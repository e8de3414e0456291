"""The signature is the schema: a factory's arguments, validated by their annotations with pydantic.

One validation serves a YAML section (``settings_of``), where lengths may have units and numbers by
group may be mappings, and the call of a library constructor (``checked``), where they may not.
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from runner.config.by_name import PerGroup, require_same_length
from runner.config.groups import GroupNames
from runner.config.markers import FloatIfInt, Marker, is_list
from runner.config.types import COMMON_TYPES, AtMost, Needs
from runner.errors import ConfigError, nearest, shown
from runner.registry import GROUPS

Factory = TypeVar("Factory", bound=Callable[..., Any])

# OmegaConf's placeholder for a mandatory value that is not set.
MISSING = "???"

_PLAIN = (int, float, bool, str, types.NoneType, list, tuple, dict)

# pydantic's type of error → the expected kind of value, and what to write.
_NOUNS = {
    "int_type": ("a whole number", "one such as 64"),
    "float_type": ("a number", "one such as 0.1"),
    "bool_type": ("true or false", "true or false"),
    "string_type": ("a string", "a string"),
    "list_type": ("a list", "one such as [1,2]"),
    "tuple_type": ("a list", "one such as [1,2]"),
    "dict_type": ("a mapping", "one such as {name: value}"),
    "mapping_type": ("a mapping", "one such as {name: value}"),
    "none_required": ("null", "null"),
}


@dataclass(frozen=True)
class Context:
    """What validating a YAML section depends on.

    groups: the names of the parameter groups.
    choose: validates a nested section: (group, section, key) → Choice.
    """

    groups: GroupNames
    choose: Callable[[str, Any, str], Any]


@lru_cache(maxsize=512)
def parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The keyword parameters of ``factory``, with annotations that pydantic can validate."""
    target = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
    found = list(inspect.signature(target).parameters.values())
    return {
        p.name: p.replace(annotation=_annotation(p, getattr(target, "__globals__", {})))
        for p in (found[1:] if inspect.isclass(factory) else found)
        if p.kind not in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
    }


def markers(factory: Callable[..., Any], kind: type[Any]) -> dict[str, Any]:
    """The arguments of ``factory`` whose annotation has a marker of ``kind``: name → marker."""
    found = {}
    for name, parameter in parameters(factory).items():
        for marker in _markers(parameter.annotation):
            if isinstance(marker, kind):
                found[name] = marker
    return found


def settings_of(
    factory: Callable[..., Any],
    section: Any,
    *,
    key: str,
    group: str = "",
    context: Context | None = None,
) -> Any:
    """The typed settings in ``section``: an object with one attribute per argument of ``factory``.

    Args:
      group: the config group of the factory: excludes the arguments that the runner supplies, and
        gives types to settings that mean the same throughout the group (``COMMON_TYPES``).
      context: for a YAML section; None for the arguments of a library call.

    Raises:
      ConfigError: a key is unknown or missing, or a value does not match its annotation; the
        error's key starts with ``key``.
    """
    model = _model(factory, group)
    return _validated(factory, model, section, key=key, context=context)


def checked(factory: Factory) -> Factory:
    """Decorator: validates the arguments of every call against the signature.

    Raises (from the call):
      ConfigError: its key is the name of the argument.
      TypeError: an argument is unknown or missing, as from any call.
    """
    signature = inspect.signature(factory)
    is_method = next(iter(signature.parameters), None) == "self"

    @wraps(factory)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        arguments = dict(bound.arguments)
        receiver = [arguments.pop("self")] if is_method else []
        if is_method:
            settings = _validated(type(receiver[0]), _model(type(receiver[0])), arguments, key="")
        else:
            settings = _validated(call, _model(call), arguments, key="")
        return factory(*receiver, **dict(settings))

    return call  # type: ignore[return-value]


def json_schema(factory: Callable[..., Any], group: str = "") -> dict[str, Any]:
    """The JSON Schema of the settings of ``factory``."""
    return _model(factory, group).model_json_schema()


def _validated(
    factory: Callable[..., Any],
    model: Any,
    section: Any,
    *,
    key: str,
    context: Context | None = None,
) -> Any:
    from pydantic import ValidationError

    if not isinstance(section, Mapping):
        example = f"such as {key}.{next(iter(model.model_fields), '')}".removesuffix(".")
        raise ConfigError(key, f"{shown(section)} is not a mapping", f"set its keys, {example}")
    texts = {name: value for name, value in section.items() if isinstance(value, str)}
    missing = [name for name, text in texts.items() if text == MISSING]
    given = {str(name): value for name, value in section.items() if name not in missing}
    try:
        settings = model.model_validate(given, context=context)
    except ValidationError as error:
        raise _first_error(error, model, key) from error
    if missing:
        raise _missing(f"{key}.{missing[0]}" if key else missing[0])
    _check_combinations(factory, settings, key=key)
    return settings


@lru_cache(maxsize=512)
def _model(
    factory: Callable[..., Any],
    group: str = "",
) -> type[Any]:
    """The pydantic model of a signature: strict, frozen, without extra keys unless ``**kwargs``."""
    from pydantic import ConfigDict, create_model

    supplied = GROUPS[group].supplied if group else frozenset()
    common = COMMON_TYPES.get(group, {})
    fields: dict[str, Any] = {}
    extra = "forbid"
    for name, parameter in parameters(factory).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif name not in supplied:
            default = ... if parameter.default is parameter.empty else parameter.default
            annotation = parameter.annotation
            if name in common and not _markers(annotation):
                annotation = common[name]
            fields[name] = (annotation, default)
    config = ConfigDict(
        strict=True, frozen=True, extra=extra, arbitrary_types_allowed=True, protected_namespaces=()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a setting may be called "copy" or "json"
        return create_model(getattr(factory, "__name__", "settings"), __config__=config, **fields)


def _annotation(parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """The annotation to validate with: the parameter's own if pydantic can use it, else ``Any``.

    If there is none and the default is a float, an int is converted to a float: the type of a
    number decides whether it is an argument of the compiled program.
    """
    annotation = parameter.annotation
    if isinstance(annotation, str):
        # Evaluated one by one: the return annotation may name a library that is imported lazily.
        try:
            annotation = eval(annotation, names)
        except Exception:
            return Any
    if annotation is not parameter.empty and _is_plain(annotation):
        return _with_lists_for_tuples(annotation)
    return Annotated[Any, FloatIfInt()] if type(parameter.default) is float else Any


def _is_plain(annotation: Any) -> bool:
    """Whether an annotation consists of YAML's types, literals and markers."""
    if any(isinstance(m, Marker) for m in _markers(annotation)) or annotation in (Any, *_PLAIN):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_plain(arguments[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType) or _is_container(origin):
        return all(argument is ... or _is_plain(argument) for argument in arguments)
    return False


def _is_container(origin: Any) -> bool:
    return inspect.isclass(origin) and issubclass(origin, (Sequence, Mapping))


def _with_lists_for_tuples(annotation: Any) -> Any:
    """The annotation, but accepting a list for a tuple, which strict validation would refuse."""
    from pydantic import Strict

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_with_lists_for_tuples, arguments))]  # noqa: UP007
    return Annotated[annotation, Strict(False)] if origin is tuple else annotation


def _markers(annotation: Any) -> tuple[Any, ...]:
    """The markers of an annotation, including those of the members of a union."""
    if get_origin(annotation) is Annotated:
        return (*_markers(get_args(annotation)[0]), *annotation.__metadata__)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(marker for member in get_args(annotation) for marker in _markers(member))
    return ()


def _check_combinations(factory: Any, settings: Any, *, key: str) -> None:
    """Checks the rules between arguments that their markers declare."""
    prefix = f"{key}." if key else ""
    by_group = markers(factory, PerGroup)
    lists = {
        name: len(value)
        for name in by_group
        if isinstance(value := getattr(settings, name, None), tuple)
    }
    for noun in dict.fromkeys(by_group[name].noun for name in lists):
        require_same_length(lists, noun=noun, prefix=prefix)
    for name, rule in markers(factory, AtMost).items():
        _check_order(
            name, getattr(settings, name), rule.other, getattr(settings, rule.other), prefix
        )
    for name, rule in markers(factory, Needs).items():
        if getattr(settings, name) and not getattr(settings, rule.other):
            problem = f"true without {rule.other}, which it needs"
            remedy = f"set {prefix}{rule.other}, or {name}=false"
            raise ConfigError(f"{prefix}{name}", problem, remedy)


def _check_order(name: str, low: Any, other: str, high: Any, prefix: str) -> None:
    if low is None or high is None:
        return
    count = next((len(value) for value in (low, high) if is_list(value)), 1)
    lows, highs = (value if is_list(value) else [value] * count for value in (low, high))
    for one, limit in zip(lows, highs, strict=True):
        if one > limit:
            problem = f"{shown(one)} is above {other} ({shown(limit)})"
            raise ConfigError(f"{prefix}{name}", problem, f"write {name} at most {other}")


def _first_error(error: Any, model: Any, key: str) -> ConfigError:
    """The most important of pydantic's errors: unknown keys, then missing ones, then values."""
    errors = error.errors(include_url=False)
    order = {"extra_forbidden": 0, "missing": 1}
    errors.sort(key=lambda each: order.get(each["type"], 2))  # stable: then in the order of fields
    first = errors[0]
    name = str(first["loc"][0])
    full = f"{key}.{name}" if key else name
    if first["type"] == "extra_forbidden":
        known = list(model.model_fields)
        remedy = nearest(name, known) if known else f"{key} takes no settings here"
        return ConfigError(full, "there is no such setting", remedy)
    if first["type"] == "missing":
        return _missing(full)
    same = [each for each in errors if each["loc"][0] == first["loc"][0]]
    return _refused(full, same, model.model_fields[name].annotation)


def _refused(key: str, errors: list[Any], annotation: Any) -> ConfigError:
    """The error for an invalid value: from a marker if possible, else the expected types."""
    raised = [each["ctx"]["error"] for each in errors if each["type"] == "value_error"]
    for problem in raised:
        if isinstance(problem, ConfigError):
            return ConfigError(f"{key}.{problem.key}", problem.problem, problem.remedy)
        if len(errors) == 1 or not problem.noun:
            return ConfigError(f"{key}{problem.below}", problem.problem, problem.remedy)
    first = errors[0]
    if len(errors) == 1:
        key += "".join(f"[{i}]" if isinstance(i, int) else f".{i}" for i in first["loc"][1:])
    if len(errors) == 1 and first["type"] == "literal_error":
        names = [str(name) for name in _literals(annotation)]
        problem = f"{shown(first['input'])} is not one of {', '.join(names)}"
        remedy = nearest(str(first["input"])[:40], names)
        return ConfigError(key, problem, "write one of them" if ":" in remedy else remedy)
    nouns, examples = zip(*(_noun(each, annotation) for each in errors), strict=True)
    problem = f"{shown(first['input'])} is not {' or '.join(nouns)}"
    return ConfigError(key, problem, f"write {' or '.join(examples)}")


def _noun(error: Any, annotation: Any) -> tuple[str, str]:
    if error["type"] == "value_error":
        return error["ctx"]["error"].noun, "one such as 64"
    if error["type"] == "literal_error":
        names = " or ".join(map(str, _literals(annotation)))
        return names, names
    return _NOUNS.get(error["type"], (error["msg"], "another value"))


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(name for member in get_args(annotation) for name in _literals(member))


def _missing(key: str) -> ConfigError:
    return ConfigError(key, "has no value", f"give one: {key}=...")
