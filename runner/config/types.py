"""Types of settings: the aliases and markers with which a factory annotates its arguments.

``runner.config.signature`` validates YAML sections and the arguments of library constructors
against them. Each alias has one marker, which identifies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from runner.config.by_name import LengthsByName, PerGroup
from runner.config.markers import InSteps, Number, Series, Whole
from runner.errors import INT32_MAX


@dataclass(frozen=True)
class Switch:
    """Marks the bool that makes a schedule set the optimizer's momentum."""


@dataclass(frozen=True)
class Needs:
    """Marks a bool that may be true only if the argument ``other`` is neither None nor 0."""

    other: str


@dataclass(frozen=True)
class AtMost:
    """Marks a number, or numbers per group, that must not exceed the argument ``other``."""

    other: str


@dataclass(frozen=True)
class Unscheduled:
    """Marks a hyperparameter that is constant during a run: no schedule replaces it."""


# Numbers.
Real32 = Annotated[float, Number()]
NonNegative = Annotated[float, Number(ge=0)]
Positive = Annotated[float, Number(gt=0)]
Share = Annotated[float, Number(ge=0, le=1)]
PositiveShare = Annotated[float, Number(gt=0, le=1)]
InnerShare = Annotated[float, Number(gt=0, lt=1)]
# Decay rates and momenta: at 1 an average would never move.
Decay = Annotated[float, Number(ge=0, lt=1)]
DropoutRate = Annotated[float, Number(ge=0, lt=1)]
Count = Annotated[int, Whole(1)]
Seed = Annotated[int, Whole(0)]
Widths = Annotated[tuple[int, ...], Series(Whole(1), nouns="whole numbers", example="[128,128]")]

# Lengths, in steps once the factory is called.
Steps = Annotated[int, InSteps()]
StepsFromZero = Annotated[int, InSteps(ge=0)]
HalfCycle = Annotated[int, InSteps(le=INT32_MAX // 2)]
Milestones = Annotated[
    Sequence[int],
    Series(InSteps(), increasing=True, nouns="lengths", example="[500,800] or [50%,75%]"),
]
PartLengths = Annotated[Mapping[str, int | None], LengthsByName()]

# Numbers that may differ between parameter groups.
Rates = Annotated[float | Sequence[float], PerGroup(Number(ge=0), "rates")]
PositiveRates = Annotated[float | Sequence[float], PerGroup(Number(gt=0), "rates")]
# A factory is called for one group, with the number of that group.
Decays = Annotated[float, PerGroup(Number(ge=0))]

CycleMomentum = Annotated[bool, Switch()]

# Config group → types of settings that mean the same in all its parts, annotated or not.
COMMON_TYPES: Mapping[str, Mapping[str, Any]] = {"optimizer": {"weight_decay": Decays}}
