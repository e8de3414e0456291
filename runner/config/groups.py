"""The names of parameter groups, and numbers that each group may have its own of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.checks import shown
from runner.checks.values import is_list
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

    def in_order(self, value: Any, *, key: str) -> Any:
        """A number as it is; numbers by name as the list that they stand for, one for each group.

        A frozen group needs none, nor does the default group, which may have no parameters.

        Raises:
          ConfigError: a name is of no group, or one has no value; there are more or fewer numbers
            than there can be groups.
        """
        values = self._listed(value, key) if isinstance(value, Mapping) else value
        if is_list(values) and len(values):
            self._check_count(len(values), key)
        return values

    def check_names(self, values: Mapping[Any, Any], *, key: str) -> None:
        """Raises ConfigError where ``values`` are none, or one is for a group that is not there."""
        if not values:
            raise ConfigError(key, "the mapping is empty", "write a number, or one for each group")
        for name in values:
            if name not in (*self.names, DEFAULT_GROUP):
                known = nearest(str(name), (*self.names, DEFAULT_GROUP))
                raise ConfigError(f"{key}.{name}", "there is no such group", known)

    def _listed(self, values: Mapping[Any, Any], key: str) -> list[Any]:
        self.check_names(values, key=key)
        for name in self.names:
            if name not in values and name not in self.frozen:
                problem = f"has no value for the group {name}"
                raise ConfigError(key, problem, f"write one: {key}.{name}=...")
        spare = next(iter(values.values()))
        last = (DEFAULT_GROUP,) if DEFAULT_GROUP in values else ()
        return [values.get(name, spare) for name in (*self.names, *last)]

    def _check_count(self, count: int, key: str) -> None:
        """One for each group; whether the default group has parameters is not known yet."""
        if not self.names and count > 1:
            problem = f"{count} numbers, but there is one group of parameters"
            raise ConfigError(key, problem, "write a number, or set optimizer.groups")
        if self.names and count not in (len(self.names), len(self.names) + 1):
            listed = ", ".join((*self.names, DEFAULT_GROUP))
            problem = f"{count} numbers, but there are {len(self.names) + 1} groups ({listed})"
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
