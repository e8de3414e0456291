"""The signature is the schema: a factory's arguments, validated by their annotations with pydantic.

One validation serves a YAML section (``settings_of``), where lengths may have units and numbers by
group may be mappings, and the call of a library constructor (``checked``), where they may not.

Schemas are built for pydantic's core, since importing pydantic itself takes a tenth of a second.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from etils import epy

from runner.config.by_name import PerGroup, require_same_length
from runner.config.groups import GroupNames
from runner.config.invalid import missing_value, section_error, value_error
from runner.config.markers import Marker, is_list, tuple_of
from runner.config.types import COMMON_TYPES, AtMost, Needs
from runner.errors import ConfigError, shown
from runner.registry import GROUPS

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

with epy.lazy_imports():
    import pydantic_core
    from pydantic_core import core_schema as cs

Factory = TypeVar("Factory", bound=Callable[..., Any])

# OmegaConf's placeholder for a mandatory value that is not set.
MISSING = "???"

_PLAIN: dict[Any, Any] = {
    Any: "any",
    bool: "bool",
    float: "float",
    int: "int",
    str: "str",
    types.NoneType: "none",
}


@dataclass(frozen=True)
class Context:
    """What validating a YAML section depends on.

    groups: the names of the parameter groups.
    choose: validates a nested section, if there can be any: (group, section, key) → Choice.
    """

    groups: GroupNames
    choose: Callable[[str, Any, str], Any] | None = None


class Settings(types.SimpleNamespace):
    """The arguments of a factory as attributes; iterating over it gives (name, value) pairs."""

    def __iter__(self) -> Any:
        return iter(vars(self).items())


@lru_cache(maxsize=512)
def parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The keyword parameters of ``factory``; annotations that cannot be evaluated are empty."""
    target = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
    found = list(inspect.signature(target).parameters.values())
    return {
        p.name: p.replace(annotation=_evaluated(p.annotation, getattr(target, "__globals__", {})))
        for p in (found[1:] if inspect.isclass(factory) else found)
        if p.kind not in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
    }


@lru_cache(maxsize=2048)
def markers(factory: Callable[..., Any], kind: type[Any]) -> Mapping[str, Any]:
    """The arguments of ``factory`` whose annotation has a marker of ``kind``: name → marker."""
    return {
        name: marker
        for name, parameter in parameters(factory).items()
        for marker in _markers(parameter.annotation)
        if isinstance(marker, kind)
    }


def settings_of(
    factory: Callable[..., Any],
    section: Any,
    *,
    key: str,
    group: str = "",
    context: Context | None = None,
) -> Settings:
    """The typed settings in ``section``: an object with one attribute per argument of ``factory``.

    Args:
      group: the config group of the factory: excludes the arguments that the runner supplies, and
        gives types to settings that mean the same throughout the group (``COMMON_TYPES``).
      context: for a YAML section; None for the arguments of a library call.

    Raises:
      ConfigError: a key is unknown or missing, or a value does not match its annotation; the
        error's key starts with ``key``.
    """
    fields, prefix = _fields(factory, group), f"{key}." if key else ""
    if not isinstance(section, Mapping):
        example = f"such as {prefix}{next(iter(fields), '')}".removesuffix(".")
        raise ConfigError(key, f"{shown(section)} is not a mapping", f"set its keys, {example}")
    texts = {name: value for name, value in section.items() if isinstance(value, str)}
    missing = [name for name, text in texts.items() if text == MISSING]
    given = {str(name): value for name, value in section.items() if name not in missing}
    try:
        values = _validator(factory, group).validate_python(given, context=context)
    except pydantic_core.ValidationError as error:
        annotations = {name: parameters(factory)[name].annotation for name in fields}
        raise section_error(error, given, annotations, prefix) from error
    if missing:
        raise missing_value(f"{prefix}{missing[0]}")
    settings = Settings(**values)
    _check_combinations(factory, settings, prefix)
    return settings


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
        arguments = dict(signature.bind(*args, **kwargs).arguments)
        receiver = [arguments.pop("self")] if is_method else []
        declared = _owner(type(receiver[0]), factory) if is_method else call
        return factory(*receiver, **dict(settings_of(declared, arguments, key="")))

    return call  # type: ignore[return-value]


def _owner(cls: type, constructor: Callable[..., Any]) -> type:
    """The class that defines this constructor: ``cls`` or one of its base classes."""
    inits = {c: inspect.unwrap(vars(c)["__init__"]) for c in cls.__mro__ if "__init__" in vars(c)}
    return next(c for c, init in inits.items() if init is inspect.unwrap(constructor))


def require(key: str, value: Any, marker: Marker) -> None:
    """Raises ConfigError with ``key`` if ``marker`` does not accept ``value``."""
    try:
        _strict({key: cs.typed_dict_field(marker.schema())}).validate_python({key: value})
    except pydantic_core.ValidationError as error:
        raise value_error(key, error.errors(include_url=False), value) from error


def json_schema(factory: Callable[..., Any], group: str = "") -> dict[str, Any]:
    """The JSON Schema of the settings of ``factory``."""
    from pydantic.json_schema import GenerateJsonSchema  # for the docs alone

    return GenerateJsonSchema().generate(cs.typed_dict_schema(_fields(factory, group)))


@lru_cache(maxsize=512)
def _validator(factory: Callable[..., Any], group: str) -> pydantic_core.SchemaValidator:
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters(factory).values())
    return _strict(_fields(factory, group), extra_behavior="allow" if is_open else "forbid")


def _strict(fields: dict[str, Any], **options: Any) -> pydantic_core.SchemaValidator:
    schema = cs.typed_dict_schema(fields, config=cs.CoreConfig(strict=True), **options)
    return pydantic_core.SchemaValidator(schema)


@lru_cache(maxsize=512)
def _fields(factory: Callable[..., Any], group: str) -> dict[str, Any]:
    """The schema of each setting, by name."""
    supplied = GROUPS[group].supplied if group else frozenset()
    fields = {}
    for name, parameter in parameters(factory).items():
        if parameter.kind is parameter.VAR_KEYWORD or name in supplied:
            continue
        schema, is_required = _argument_schema(parameter, group), True
        if parameter.default is not parameter.empty:
            schema, is_required = cs.with_default_schema(schema, default=parameter.default), False
        fields[name] = cs.typed_dict_field(schema, required=is_required)
    return fields


def _argument_schema(parameter: inspect.Parameter, group: str) -> CoreSchema:
    """The schema of an argument; any value is accepted if YAML cannot express its annotation.

    In that case an int is converted to a float if the default is a float: the type of a number
    decides whether it is an argument of the compiled program.
    """
    annotation, common = parameter.annotation, COMMON_TYPES.get(group, {})
    if parameter.name in common and not _markers(annotation):
        annotation = common[parameter.name]
    try:
        return _schema(annotation)
    except TypeError:
        if type(parameter.default) is not float:
            return cs.any_schema()
        as_float = lambda value: float(value) if type(value) is int else value  # noqa: E731
        return cs.no_info_before_validator_function(as_float, cs.any_schema())


def _schema(annotation: Any) -> CoreSchema:
    """pydantic's schema of an annotation that consists of YAML's types, literals and markers.

    Raises:
      TypeError: the annotation contains something else.
    """
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = next((m for m in annotation.__metadata__ if isinstance(m, Marker)), None)
        return own.schema() if own else _schema(arguments[0])
    if origin is Literal:
        return cs.literal_schema([*arguments])
    inner: list[Any] = [_schema(argument) for argument in arguments if argument is not ...]
    if origin in (Union, types.UnionType):
        return cs.union_schema(inner)
    return _container_schema(origin or annotation, inner, is_open=... in arguments)


def _container_schema(kind: Any, inner: list[CoreSchema], *, is_open: bool) -> CoreSchema:
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return cs.dict_schema(*inner)
    if kind is list:
        return cs.list_schema(*inner)
    if kind is tuple and inner and not is_open:
        return cs.tuple_schema(inner, strict=False)
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        return tuple_of(*inner or [cs.any_schema()])
    raise TypeError(f"{kind} is not one of YAML's types")


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """The annotation, or an empty one if it is a string that cannot be evaluated."""
    # One by one: the return annotation may name a library that is imported lazily.
    try:
        return eval(annotation, names) if isinstance(annotation, str) else annotation
    except Exception:
        return inspect.Parameter.empty


def _markers(annotation: Any) -> tuple[Any, ...]:
    """The markers of an annotation, including those of the members of a union."""
    if get_origin(annotation) is Annotated:
        return (*_markers(get_args(annotation)[0]), *annotation.__metadata__)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(marker for member in get_args(annotation) for marker in _markers(member))
    return ()


def _check_combinations(factory: Any, settings: Settings, prefix: str) -> None:
    """Checks the rules between arguments that their markers declare."""
    values, by_group = vars(settings), markers(factory, PerGroup)
    counts = {name: len(values[name]) for name in by_group if is_list(values.get(name))}
    for name in counts:
        require_same_length(counts, noun=by_group[name].noun, prefix=prefix)
    for name, rule in markers(factory, AtMost).items():
        _check_order(name, values[name], rule.other, values[rule.other], prefix)
    for name, rule in markers(factory, Needs).items():
        if values[name] and not values[rule.other]:
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
            raise ConfigError(f"{prefix}{name}", problem, f"lower {name}, or raise {other}")
