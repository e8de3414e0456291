"""Markers: what a setting's value may be, and the error for any other value.

An annotation has at most one marker that checks values; ``runner.config.types`` names the usual
ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

from runner.config.lengths import check_length, without_point
from runner.errors import FLOAT32_MAX, INT32_MAX, ConfigError, shown

FLOAT32_TINY = 2.0**-126  # the smallest normal number; XLA may flush anything smaller to zero
# The largest float64 that float32 does not round to 1.
ROUNDS_TO_ONE = 1 - 2.0**-25


class RefusedValueError(ValueError):
    """A marker does not accept a value.

    below: where in the value the error is, appended to the setting's key: ``[1]``, ``.head``.
    noun: the expected kind of value; given only if the value has the wrong type.
    """

    def __init__(self, problem: str, remedy: str, *, below: str = "", noun: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy, self.below, self.noun = problem, remedy, below, noun


class Marker(ABC):
    """Validates the values of a setting; code also finds settings by the class of their marker."""

    @abstractmethod
    def check(self, value: Any, context: Any) -> Any:
        """Returns the value as the factory gets it, or raises RefusedValueError.

        ``context`` is None for library calls.
        """

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the value in YAML."""

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> Any:
        """``value`` with lengths in steps, by ``to_steps(length, key, at_least)``."""
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema  # only where values are validated

        return core_schema.with_info_plain_validator_function(
            lambda value, info: self.check(value, info.context)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return self.schema()


@dataclass(frozen=True)
class Number(Marker):
    """A finite real number that float32 can hold, within bounds."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def check(self, value: Any, context: Any = None) -> float:
        number: Any = value
        if not isinstance(number, Real) or isinstance(number, bool):
            raise wrong_type(value, "a number", "one such as 0.1")
        if value != value or value in (math.inf, -math.inf):  # isnan would fail on a huge int
            raise RefusedValueError(f"{shown(value)} is not finite", "write a finite number")
        if abs(value) > FLOAT32_MAX or 0 < abs(value) < FLOAT32_TINY:
            remedy = "write 0, or a number with an absolute value from 1.2e-38 to 3.4e38"
            raise RefusedValueError(f"{shown(value)} is outside the range of float32", remedy)
        if not self._holds(value):
            allowed = " and ".join(f"{word} {bound}" for word, bound in self._bounds())
            remedy = f"write a number that is {allowed}"
            raise RefusedValueError(f"{shown(value)} is not {allowed}", remedy)
        if self.lt == 1 and value >= ROUNDS_TO_ONE:
            problem = f"{shown(value)} rounds to 1 in float32"
            raise RefusedValueError(problem, "write at most 0.9999999")
        return float(value)

    def _holds(self, value: Any) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def _bounds(self) -> list[tuple[str, float]]:
        named = {"at least": self.ge, "above": self.gt, "at most": self.le, "below": self.lt}
        return [(word, bound) for word, bound in named.items() if bound is not None]

    def schema(self) -> dict[str, Any]:
        keys = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        bounds = zip(keys, (self.ge, self.gt, self.le, self.lt), strict=True)
        return {"type": "number", **{key: bound for key, bound in bounds if bound is not None}}


@dataclass(frozen=True)
class Whole(Marker):
    """An int (not a bool, not ``500.0``) from ``ge`` to ``le``."""

    ge: int
    le: int = INT32_MAX

    def check(self, value: Any, context: Any = None) -> int:
        number: Any = value
        if not isinstance(number, Integral) or isinstance(number, bool):
            example = without_point(value) or "one such as 64"
            raise wrong_type(value, "a whole number", example)
        if not self.ge <= value <= self.le:
            allowed = f"an integer from {self.ge} to {self.le}"
            raise RefusedValueError(f"{shown(value)} is not {allowed}", f"write {allowed}")
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.ge, "maximum": self.le}


@dataclass(frozen=True)
class InSteps(Marker):
    """A length: in YAML possibly with a unit (``4ep``, ``25%``), for the factory in steps."""

    ge: int = 1
    le: int = INT32_MAX

    def check(self, value: Any, context: Any = None) -> int | str:
        if context is None:
            return Whole(self.ge, self.le).check(value)
        if isinstance(value, Integral) and not isinstance(value, bool):
            value = int(value)  # NumPy's integers too
        try:
            check_length(value, key="", at_least=self.ge)
        except ConfigError as error:
            raise RefusedValueError(error.problem, error.remedy) from error
        return value if isinstance(value, str) else Whole(self.ge, self.le).check(value)

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> int:
        return to_steps(value, key, self.ge)

    def schema(self) -> dict[str, Any]:
        written = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ep|%)$"}
        return {"anyOf": [{"type": "integer", "minimum": self.ge, "maximum": self.le}, written]}


@dataclass(frozen=True)
class Series(Marker):
    """A non-empty list whose items ``item`` validates; the factory gets a tuple."""

    item: Marker
    increasing: bool = False
    nouns: str = "numbers"
    example: str = "[64,64]"

    def check(self, value: Any, context: Any = None) -> tuple[Any, ...]:
        if not is_list(value) or not value:
            value = list(value) if is_list(value) else value  # shown as in YAML
            raise wrong_type(value, f"a list of {self.nouns}", f"one such as {self.example}")
        items = tuple(
            check_item(self.item, item, f"[{i}]", context) for i, item in enumerate(value)
        )
        if self.increasing and not any(isinstance(item, str) for item in items):
            for earlier, later in pairwise(items):
                if earlier >= later:
                    problem = f"{later} is not greater than {earlier}"
                    raise RefusedValueError(problem, f"write {self.nouns} in increasing order")
        return items

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> tuple[Any, ...]:
        items = enumerate(value)
        return tuple(self.item.resolved(item, f"{key}[{i}]", to_steps) for i, item in items)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(), "minItems": 1}


@dataclass(frozen=True)
class Text(Marker):
    """A string that ``read`` accepts, without ConfigError; in library calls also a callable."""

    read: Callable[[str], object]

    def check(self, value: Any, context: Any = None) -> Any:
        if callable(value) and context is None:
            return value
        if not isinstance(value, str):
            raise wrong_type(value, "a string", "a string")
        try:
            self.read(value)
        except ConfigError as error:
            raise RefusedValueError(error.problem, error.remedy) from error
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True)
class AutoOr(Marker):
    """``auto``, or what ``other`` allows."""

    other: Whole

    def check(self, value: Any, context: Any = None) -> Any:
        if value == "auto":
            return value
        try:
            return self.other.check(value)
        except RefusedValueError as error:
            if error.noun:
                raise wrong_type(value, f"auto or {error.noun}", "auto or 64") from error
            raise

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": "auto"}, self.other.schema()]}


@dataclass(frozen=True)
class FloatIfInt(Marker):
    """Accepts any value and converts an int to a float; for arguments without an annotation."""

    def check(self, value: Any, context: Any = None) -> Any:
        return float(value) if type(value) is int else value

    def schema(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Folder(Marker):
    """The path of a folder, which the user must give; ``holds`` says which files are in it."""

    holds: str

    def check(self, value: Any, context: Any = None) -> str:
        if value is None or value == "":
            raise RefusedValueError(
                "no folder is given", f"give the folder that holds {self.holds}"
            )
        if not isinstance(value, str):
            raise wrong_type(value, "a string", "the path of a folder")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class OptionsOf(Marker):
    """A list of options of ``group``; the factory gets them as choices."""

    group: str

    def check(self, value: Any, context: Any = None) -> tuple[Any, ...]:
        if not is_list(value) or not all(isinstance(each, str) for each in value):
            raise wrong_type(value, "a list of strings", "one such as [this,that]")
        return tuple(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}}


def require(key: str, value: Any, marker: Marker) -> None:
    """Raises ConfigError with ``key`` if ``marker`` does not accept ``value``."""
    try:
        marker.check(value, None)
    except RefusedValueError as error:
        raise ConfigError(f"{key}{error.below}", error.problem, error.remedy) from error


def is_list(value: object) -> bool:
    """Whether ``value`` is a sequence other than a string."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def wrong_type(value: Any, noun: str, example: str) -> RefusedValueError:
    return RefusedValueError(f"{shown(value)} is not {noun}", f"write {example}", noun=noun)


def check_item(marker: Marker, value: Any, place: str, context: Any = None) -> Any:
    try:
        return marker.check(value, context)
    except RefusedValueError as error:
        raise RefusedValueError(
            error.problem, error.remedy, below=f"{place}{error.below}"
        ) from error
