"""Markers of mappings by name, and of numbers by parameter group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.config.lengths import is_zero
from runner.config.markers import (
    InSteps,
    Marker,
    Number,
    RefusedValueError,
    check_item,
    is_list,
    wrong_type,
)
from runner.errors import ConfigError, shown

_POSITIVE = Number(gt=0)


@dataclass(frozen=True)
class PerGroup(Marker):
    """A number for all parameter groups, or one per group: a list, or in YAML a mapping by name.

    The factory gets a float, or a tuple in the order of the groups.
    """

    each: Number
    noun: str = "numbers"

    def check(self, value: Any, context: Any = None) -> float | tuple[float, ...]:
        if isinstance(value, Mapping) and context is not None:
            names = context.groups.checked_names(value)
            numbers: Any = {name: check_item(self.each, value[name], f".{name}") for name in names}
        elif is_list(value):
            if not value:
                raise RefusedValueError(
                    "the list is empty", "write one for each group, or a number"
                )
            numbers = tuple(check_item(self.each, item, f"[{i}]") for i, item in enumerate(value))
        else:
            return self.each.check(value)
        return numbers if context is None else self.ordered(numbers, context.groups)

    def ordered(self, numbers: Any, groups: Any) -> Any:
        """Converts ``numbers``, by name or in order, to a tuple in the order of the groups."""
        return groups.in_order(numbers)

    def schema(self) -> dict[str, Any]:
        each = self.each.schema()
        series = {"type": "array", "items": each, "minItems": 1}
        return {"anyOf": [each, series, {"type": "object", "additionalProperties": each}]}


@dataclass(frozen=True)
class Multiplier(PerGroup):
    """Factors per group; a mapping may leave out groups, so it is kept as a mapping."""

    each: Number = _POSITIVE

    def ordered(self, numbers: Any, groups: Any) -> Any:
        if not isinstance(numbers, Mapping):
            groups.check_length(len(numbers))
        return numbers


@dataclass(frozen=True)
class Patterns(Marker):
    """Name → a pattern of parameter paths or a list of patterns; converted to tuples."""

    def check(self, value: Any, context: Any = None) -> dict[str, tuple[str, ...]]:
        if not isinstance(value, Mapping):
            raise wrong_type(value, "a mapping", "one such as {head: Dense_2/*}")
        return {str(name): self._patterns(name, item) for name, item in value.items()}

    def _patterns(self, name: Any, item: Any) -> tuple[str, ...]:
        patterns = (item,) if isinstance(item, str) else item
        if not is_list(patterns) or not all(isinstance(each, str) for each in patterns):
            problem = f"{shown(item)} is not a string or a list of strings"
            raise RefusedValueError(problem, "write a pattern such as Dense_0/*", below=f".{name}")
        if not patterns or "" in patterns:
            problem = "has no pattern, or an empty one"
            raise RefusedValueError(problem, "write one such as Dense_0/*", below=f".{name}")
        return tuple(patterns)

    def schema(self) -> dict[str, Any]:
        series = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        each = {"anyOf": [{"type": "string"}, series]}
        return {"type": "object", "additionalProperties": each}


@dataclass(frozen=True)
class Parts(Marker):
    """A mapping of named parts, each an option of ``group``; they are choices until built.

    ``lengths`` names the argument with the length of each part; shares of the run (``25%``) in a
    part's settings are then shares of that length.
    """

    group: str = "scheduler"
    lengths: str | None = None

    def check(self, value: Any, context: Any = None) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not value:
            raise wrong_type(value, "a mapping of parts by name", "the parts by name")
        if context is None:
            return dict(value)
        return {name: context.choose(self.group, part, str(name)) for name, part in value.items()}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"type": "object"}}


@dataclass(frozen=True)
class LengthsByName(Marker):
    """Name → a length, which may be 0, or null."""

    def check(self, value: Any, context: Any = None) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not value:
            raise wrong_type(value, "a mapping of lengths by name", "the lengths by name")
        each = InSteps(ge=0)
        return {
            str(name): None if length is None else check_item(each, length, f".{name}", context)
            for name, length in value.items()
        }

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> dict[str, Any]:
        # A part of 0 steps is left out on purpose only if its length is written as zero.
        return {
            name: None
            if length is None
            else to_steps(length, f"{key}.{name}", 0 if is_zero(length) else 1)
            for name, length in value.items()
        }

    def schema(self) -> dict[str, Any]:
        each = {"anyOf": [InSteps(ge=0).schema(), {"type": "null"}]}
        return {"type": "object", "additionalProperties": each}


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
