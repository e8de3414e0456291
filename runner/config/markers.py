"""Markers: the constraints on a setting's value, and the errors for values that break them.

An annotation has at most one marker with a schema; ``runner.config.types`` names the usual ones.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from etils import epy

from runner.config.lengths import check_length, without_point
from runner.errors import FLOAT32_MAX, INT32_MAX, ConfigError, shown

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

with epy.lazy_imports():
    from pydantic_core import core_schema as cs

FLOAT32_TINY = 2.0**-126  # the smallest normal number; XLA may flush anything smaller to zero
# The largest float64 that float32 does not round to 1.
ROUNDS_TO_ONE = 1 - 2.0**-25

# Names as in pydantic → how an error names the bound, and what a value must satisfy.
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("at least", operator.ge),
    "gt": ("above", operator.gt),
    "le": ("at most", operator.le),
    "lt": ("below", operator.lt),
}


class Marker(ABC):
    """Validates the values of a setting; code also finds settings by the class of their marker."""

    @abstractmethod
    def value_schema(self) -> CoreSchema:
        """pydantic's schema of the value in YAML."""

    def check(self, value: Any, context: Any = None) -> Any:
        """Checks and converts a value; one of the wrong type is left to ``value_schema`` to reject.

        Args:
          context: None for the arguments of a library call.

        Raises:
          ConfigError: its key is relative to the setting's, and empty for the value as a whole.
        """
        return value

    def schema(self) -> CoreSchema:
        """pydantic's schema of a setting with this marker."""
        return cs.with_info_before_validator_function(
            lambda value, info: self.check(value, info.context), self.value_schema()
        )

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> Any:
        """``value`` with lengths in steps, by ``to_steps(length, key, at_least)``."""
        return value


@dataclass(frozen=True)
class Number(Marker):
    """A finite real number that float32 can hold, within bounds."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def value_schema(self) -> CoreSchema:
        return cs.float_schema(**vars(self))

    def check(self, value: Any, context: Any = None) -> Any:
        if not isinstance(value, Real) or isinstance(value, bool):
            return value
        number: Any = value
        if number != number or number in (math.inf, -math.inf):  # isnan would fail on a huge int
            raise ConfigError("", f"{shown(value)} is not finite", "write a finite number")
        if abs(number) > FLOAT32_MAX or 0 < abs(number) < FLOAT32_TINY:
            remedy = "write 0, or a number with an absolute value from 1.2e-38 to 3.4e38"
            raise ConfigError("", f"{shown(value)} is outside the range of float32", remedy)
        bounds = [(*_BOUNDS[k], bound) for k, bound in vars(self).items() if bound is not None]
        if not all(holds(number, bound) for _, holds, bound in bounds):
            allowed = " and ".join(f"{word} {bound}" for word, _, bound in bounds)
            problem = f"{shown(value)} is not {allowed}"
            raise ConfigError("", problem, f"write a number that is {allowed}")
        if self.lt == 1 and number >= ROUNDS_TO_ONE:
            problem = f"{shown(value)} rounds to 1 in float32"
            raise ConfigError("", problem, "write at most 0.9999999")
        return float(number)


@dataclass(frozen=True)
class Whole(Marker):
    """An int (not a bool, not ``500.0``) from ``ge`` to ``le``."""

    ge: int
    le: int = INT32_MAX

    def value_schema(self) -> CoreSchema:
        return cs.int_schema(ge=self.ge, le=self.le)

    def check(self, value: Any, context: Any = None) -> Any:
        if not is_whole(value):
            return value
        if not self.ge <= value <= self.le:
            allowed = f"an integer from {self.ge} to {self.le}"
            raise ConfigError("", f"{shown(value)} is not {allowed}", f"write {allowed}")
        return int(value)


@dataclass(frozen=True)
class InSteps(Marker):
    """A length: in YAML possibly with a unit (``4ep``, ``25%``), for the factory in steps."""

    ge: int = 1
    le: int = INT32_MAX

    def value_schema(self) -> CoreSchema:
        written = cs.str_schema(pattern=r"^[0-9]+(\.[0-9]+)? ?(ep|%)$|^[0-9]+$")
        return cs.union_schema([cs.int_schema(ge=self.ge, le=self.le), written])

    def check(self, value: Any, context: Any = None) -> int | str:
        if context is None and not is_whole(value):
            problem, whole = f"{shown(value)} is not a whole number", without_point(value)
            fits = whole is not None and self.ge <= int(whole) <= self.le
            remedy = f"write {whole}" if fits else "write a number of steps, such as 500"
            raise ConfigError("", problem, remedy)
        if context is not None:
            check_length(int(value) if is_whole(value) else value, key="", at_least=self.ge)
        return Whole(self.ge, self.le).check(value)

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> int:
        return to_steps(value, key, self.ge)


@dataclass(frozen=True)
class Series(Marker):
    """A non-empty list whose items ``item`` validates; the factory gets a tuple."""

    item: Marker
    increasing: bool = False
    nouns: str = "numbers"
    example: str = "[64,64]"

    def value_schema(self) -> CoreSchema:
        return tuple_of(self.item.schema(), min_length=1)

    def check(self, value: Any, context: Any = None) -> Any:
        if not is_list(value) or not value:
            value = list(value) if is_list(value) else value  # shown as in YAML
            problem = f"{shown(value)} is not a list of {self.nouns}"
            raise ConfigError("", problem, f"write one such as {self.example}")
        if self.increasing and all(map(is_whole, value)):  # others are compared in steps, later
            for earlier, later in pairwise(value):
                if earlier >= later:
                    problem = f"{later} is not greater than {earlier}"
                    raise ConfigError("", problem, f"write {self.nouns} in increasing order")
        return value

    def resolved(self, value: Any, key: str, to_steps: Callable[..., int]) -> tuple[Any, ...]:
        items = enumerate(value)
        return tuple(self.item.resolved(item, f"{key}[{i}]", to_steps) for i, item in items)


@dataclass(frozen=True)
class Text(Marker):
    """A value that ``read`` accepts without ConfigError; in YAML a string."""

    read: Callable[[Any], object]

    def value_schema(self) -> CoreSchema:
        return cs.json_or_python_schema(cs.str_schema(), cs.any_schema())

    def check(self, value: Any, context: Any = None) -> Any:
        try:
            self.read(value)
        except ConfigError as error:
            raise ConfigError("", error.problem, error.remedy) from error
        return value


@dataclass(frozen=True)
class DataPath(Marker):
    """The path of the data, which the user must give; ``holds`` says what is expected there."""

    holds: str
    noun: ClassVar[str] = "path"

    def value_schema(self) -> CoreSchema:
        return cs.str_schema(min_length=1)

    def check(self, value: Any, context: Any = None) -> Any:
        if value is None or value == "":
            remedy = f"give the {self.noun} {self.holds}"
            raise ConfigError("", f"no {self.noun} is given", remedy)
        return value


@dataclass(frozen=True)
class Folder(DataPath):
    """The path of a folder, which the user must give; ``holds`` says which files are in it."""

    noun: ClassVar[str] = "folder"


@dataclass(frozen=True)
class OptionOf(Marker):
    """The name of an option of ``group``, which the command line layer composes."""

    group: str

    def value_schema(self) -> CoreSchema:
        return cs.str_schema(min_length=1)


@dataclass(frozen=True)
class OptionsOf(Marker):
    """A list of options of ``group``; the factory gets them as choices."""

    group: str

    def value_schema(self) -> CoreSchema:
        return tuple_of(cs.str_schema())

    def check(self, value: Any, context: Any = None) -> Any:
        if not is_list(value) or not all(isinstance(each, str) for each in value):
            problem = f"{shown(value)} is not a list of strings"
            raise ConfigError("", problem, "write one such as [this,that]")
        return value


def is_list(value: object) -> bool:
    """Whether ``value`` is a sequence other than a string."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_whole(value: object) -> bool:
    """Whether ``value`` is an integer of Python's or NumPy's, not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def tuple_of(item: CoreSchema, *, min_length: int = 0) -> CoreSchema:
    """pydantic's schema of a list or tuple of any length; its values become tuples."""
    return cs.tuple_schema(
        [item], variadic_item_index=0, min_length=min_length or None, strict=False
    )
