"""The names of parameter groups, and numbers that each group may have its own of."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.checks import shown
from runner.errors import ConfigError, nearest
from runner.registry import DEFAULT_GROUP

# A name becomes part of TensorBoard's tags and of the keys of settings.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class GroupNames:
    """What is known of the groups before there is a model.

    names: as the configuration has them, in order; the default group comes after them.
    frozen: those that are not trained, the default group may be among them.
    """

    names: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """Those of the configuration, then the default group, which may have no parameters."""
        return (*self.names, DEFAULT_GROUP)

    def in_order(
        self, numbers: Mapping[str, float] | tuple[float, ...], *, key: str
    ) -> tuple[float, ...]:
        """``numbers``, by names that ``check_names`` has seen or in order, as one for each group.

        A frozen group needs none, and what it has is not looked at: it gets another group's. The
        default group may be left out, as it may have no parameters.

        Raises:
          ConfigError: a group has no number; there are more or fewer of them than there can be
            groups.
        """
        if isinstance(numbers, Mapping):
            by_name: Mapping[str, float] = numbers
            self._check_named(by_name, key)
        else:
            self._check_count(len(numbers), key)
            by_name = dict(zip(self.all_names, numbers, strict=False))
        needed = [name for name in self.all_names if name not in self.frozen]
        spare = next((by_name[name] for name in needed if name in by_name), 0.0)
        return tuple(
            spare if name in self.frozen else by_name[name]
            for name in self.all_names
            if name in self.frozen or name in by_name
        )

    def check_names(self, names: Iterable[Any], *, key: str) -> None:
        """Raises ConfigError where there are no ``names``, or one is of no group."""
        if not names:
            raise ConfigError(key, "is empty", "write a number, or one for each group")
        for name in names:
            if name not in self.all_names:
                known = nearest(str(name), self.all_names)
                raise ConfigError(f"{key}.{name}", "there is no such group", known)

    def _check_named(self, numbers: Mapping[str, float], key: str) -> None:
        for name in self.names or (DEFAULT_GROUP,):
            if name not in numbers and name not in self.frozen:
                problem = f"has no value for the group {name}"
                raise ConfigError(key, problem, f"write one: {key}.{name}=...")

    def _check_count(self, count: int, key: str) -> None:
        """One for each group; whether the default group has parameters is not known yet."""
        if not self.names and count > 1:
            problem = f"{count} numbers, but there is one group of parameters"
            raise ConfigError(key, problem, "write a number, or set optimizer.groups")
        if self.names and count not in (len(self.names), len(self.names) + 1):
            listed = ", ".join(self.all_names)
            problem = f"{count} numbers, but there are {len(self.all_names)} groups ({listed})"
            raise ConfigError(key, problem, "write one for each group in order, or by name")


def group_names(section: Any) -> GroupNames:
    """The groups of an ``optimizer`` section of plain values, as far as it can be read.

    Raises:
      ConfigError: a name cannot be one, or a frozen group is none of them.
    """
    section = section if isinstance(section, Mapping) else {}
    groups, listed = section.get("groups"), section.get("frozen")
    names = tuple(groups) if isinstance(groups, Mapping) else ()
    frozen = tuple(listed) if isinstance(listed, list) else ()
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problem = f"{shown(name)} cannot be the name of a group"
            raise ConfigError("optimizer.groups", problem, "write letters, digits, _ and -")
        if name == DEFAULT_GROUP:
            problem = "is the group of all parameters that no pattern matches"
            raise ConfigError(f"optimizer.groups.{name}", problem, "choose another name")
    for name in frozen:
        if name not in (*names, DEFAULT_GROUP):
            known = nearest(str(name), (*names, DEFAULT_GROUP))
            raise ConfigError("optimizer.frozen", f"there is no group {shown(name)}", known)
    if {*names, DEFAULT_GROUP} <= set(frozen):
        raise ConfigError("optimizer.frozen", "leaves nothing to train", "leave out a group")
    return GroupNames(names, frozen)
