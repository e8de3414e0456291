"""The chosen option of a config group, and what its factory's signature says about its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.config.by_name import Parts, PerGroup
from runner.config.signature import markers
from runner.config.types import COMMON_TYPES, Switch, Unscheduled
from runner.errors import ConfigError, shown
from runner.registry import GROUPS

# A schedule's momentum replaces the first of these settings that an optimizer has.
_MOMENTUM_NAMES = ("momentum", "b1")


@dataclass(frozen=True)
class Choice:
    """The chosen option of a config group.

    Attributes:
      option: the name of the chosen YAML file (``triangular2``).
      name: the registered factory that the option configures (``cyclic``).
      settings: the factory's arguments as attributes, typed by its signature; iterating over it
        gives (name, value) pairs. Lengths are unresolved; nested parts are choices themselves.
    """

    option: str
    name: str
    settings: Any


def per_group_names(factory: Any) -> set[str]:
    """The settings of an optimizer that may have one value per parameter group."""
    return {*markers(factory, PerGroup), *COMMON_TYPES["optimizer"]}


def momentum_names(factory: Any) -> list[str]:
    """The settings that a schedule's momentum may replace, in order of preference."""
    unscheduled = markers(factory, Unscheduled)
    return [name for name in _MOMENTUM_NAMES if name not in unscheduled]


def momentum_switch(scheduler: Choice, key: str = "scheduler") -> str | None:
    """The key of the setting that makes a scheduler, or a part of it, cycle the momentum."""
    factory = GROUPS["scheduler"].get(scheduler.name)
    for name in markers(factory, Switch):
        if getattr(scheduler.settings, name):
            return f"{key}.{name}"
    for name in markers(factory, Parts):
        for part, inner in getattr(scheduler.settings, name).items():
            if found := momentum_switch(inner, f"{key}.{name}.{part}"):
                return found
    return None


def check_momentum(optimizer: Choice, *, key: str) -> None:
    """Checks that an optimizer has a momentum, as the schedule cycles it.

    Args:
      key: the setting that makes the schedule cycle it, or the schedule's section.

    Raises:
      ConfigError: the optimizer has no such setting, or it is null or 0.
    """
    factory, settings = GROUPS["optimizer"].get(optimizer.name), dict(optimizer.settings)
    found = {name: settings[name] for name in momentum_names(factory) if name in settings}
    used = next((value for value in found.values() if value is not None), None)
    if used:
        return
    is_switch = "." in key
    says = "true" if is_switch else "cycles the momentum"
    if not found:
        problem = f"{says}, but the optimizer {optimizer.name} has no momentum to cycle"
        remedies = ["choose one with a momentum, such as sgd or adam", f"set {key}=false"]
    else:
        name, value = next(iter(found.items()))
        problem = f"{says}, but optimizer.{name} is {shown(value)}"
        remedies = [f"set optimizer.{name} (0.9)", f"{key}=false"]
    raise ConfigError(key, problem, ", or ".join(remedies if is_switch else remedies[:1]))
