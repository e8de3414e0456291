"""Markers of mappings by name, and of numbers by parameter group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etils import epy

from runner.config.lengths import is_zero
from runner.config.markers import InSteps, Marker, Number, is_list, tuple_of
from runner.errors import ConfigError, shown

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

with epy.lazy_imports():
    from pydantic_core import core_schema as cs


_POSITIVE = Number(gt=0)


class _Converted(Marker):
    """A marker whose ``check`` gets and converts values that ``value_schema`` has accepted."""

    def schema(self) -> CoreSchema:
        return cs.with_info_after_validator_function(
            lambda value, info: self.check(value, info.context), self.value_schema()
        )


@dataclass(frozen=True)
class PerGroup(_Converted):
    """A number for all parameter groups, or one per group: a list, or in YAML a mapping by name.

    The factory gets a float, or a tuple in the order of the groups.
    """

    each: Number
    noun: str = "numbers"

    def value_schema(self) -> CoreSchema:
        each = self.each.schema()
        by_name = cs.dict_schema(cs.str_schema(), each)
        forms = {"number": each, "list": tuple_of(each, min_length=1), "mapping": by_name}
        return cs.tagged_union_schema(forms, discriminator=_form)

    def check(self, value: Any, context: Any = None) -> Any:
        if isinstance(value, float):
            return value
        if context is None and isinstance(value, Mapping):
            raise ConfigError("", "a mapping by name is for YAML", "write a list, or a number")
        return value if context is None else self.ordered(value, context.groups)

    def ordered(self, numbers: Any, groups: Any) -> Any:
        """Converts ``numbers``, by name or in order, to a tuple in the order of the groups."""
        return groups.in_order(numbers)


@dataclass(frozen=True)
class Multiplier(PerGroup):
    """Factors per group; a mapping may leave out groups, so it is kept as a mapping."""

    each: Number = _POSITIVE

    def ordered(self, numbers: Any, groups: Any) -> Any:
        if isinstance(numbers, Mapping):
            groups.check_names(numbers)
        else:
            groups.check_length(len(numbers))
        return numbers


@dataclass(frozen=True)
class Patterns(_Converted):
    """A pattern of parameter paths, or a list of them; converted to a tuple."""

    def value_schema(self) -> CoreSchema:
        return cs.union_schema([cs.str_schema(), tuple_of(cs.str_schema())])

    def check(self, value: Any, context: Any = None) -> tuple[str, ...]:
        patterns = (value,) if isinstance(value, str) else value
        if not patterns or "" in patterns:
            problem = "has no pattern, or an empty one"
            raise ConfigError("", problem, "write one such as Dense_0/*")
        return patterns


@dataclass(frozen=True)
class Parts(_Converted):
    """A mapping of named parts, each an option of ``group``; they are choices until built.

    ``lengths`` names the argument with the length of each part; shares of the run (``25%``) in a
    part's settings are then shares of that length.
    """

    group: str = "scheduler"
    lengths: str | None = None

    def value_schema(self) -> CoreSchema:
        return cs.dict_schema(cs.str_schema(), min_length=1)

    def check(self, value: Any, context: Any = None) -> Mapping[str, Any]:
        if context is None:
            return value
        return {name: context.choose(self.group, part, name) for name, part in value.items()}


@dataclass(frozen=True)
class SettingsOf(_Converted):
    """A nested section: the settings of the part ``name`` of ``group``; a choice once validated."""

    group: str
    name: str

    def value_schema(self) -> CoreSchema:
        return cs.dict_schema(cs.str_schema())

    def check(self, value: Any, context: Any = None) -> Any:
        if context is None:
            return value
        if value.get("name", self.name) != self.name:
            raise ConfigError("name", f"{shown(value['name'])} is not {self.name}", "leave it out")
        return context.choose(self.group, {**value, "name": self.name}, "")


@dataclass(frozen=True)
class LengthsByName(Marker):
    """Name → a length, which may be 0, or null."""

    def value_schema(self) -> CoreSchema:
        length = cs.nullable_schema(InSteps(ge=0).schema())
        return cs.dict_schema(cs.str_schema(), length, min_length=1)

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> dict[str, Any]:
        # A part of 0 steps is left out on purpose only if its length is written as zero.
        return {
            name: None
            if length is None
            else to_steps(length, f"{key}.{name}", 0 if is_zero(length) else 1)
            for name, length in value.items()
        }


def require_same_length(
    counts: Mapping[str, int], *, noun: str = "rates", prefix: str = ""
) -> None:
    """Raises ConfigError unless all lists have one entry for each of the same groups.

    Args:
      counts: key → length of the list there; those without a list are left out.
      prefix: what the error's key begins with.
    """
    for key, count in counts.items():
        first = next(iter(counts))
        if count != counts[first]:
            problem = f"{count} {noun}, but {first} has {counts[first]}"
            remedy = "write one for each group in both, or a number for all groups"
            raise ConfigError(f"{prefix}{key}", problem, remedy)


def _form(value: Any) -> str:
    if isinstance(value, Mapping):
        return "mapping"
    return "list" if is_list(value) else "number"
