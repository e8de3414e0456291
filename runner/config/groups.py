"""The names of parameter groups, and numbers given per group."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from runner.errors import ConfigError, nearest, shown
from runner.registry import DEFAULT_GROUP

# A name becomes part of TensorBoard's tags and of the keys of settings.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class GroupNames:
    """The parameter groups that a configuration declares, before a model is built.

    Attributes:
      names: in the order of the configuration, without the default group.
      frozen: the groups that are not trained; may include the default group.
    """

    names: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """The declared names, then the default group, which may have no parameters."""
        return (*self.names, DEFAULT_GROUP)

    def in_order(self, numbers: Mapping[str, float] | tuple[float, ...]) -> tuple[float, ...]:
        """Converts ``numbers``, by name or in order, to a tuple with one per group.

        A frozen group needs none: its entry is unused and filled with another group's number. The
        default group may be left out, as it may have no parameters.

        Raises:
          ConfigError: a group has no number, or there are more or fewer numbers than groups; its
            key is relative to the setting's.
        """
        if isinstance(numbers, Mapping):
            self.check_names(numbers)
            by_name: Mapping[str, float] = numbers
            for name in self.names:
                if name not in by_name and name not in self.frozen:
                    problem = f"has no value for the group {name}"
                    raise ConfigError("", problem, f"write one for {name}")
        else:
            self.check_length(len(numbers))
            by_name = dict(zip(self.all_names, numbers, strict=False))
        needed = [name for name in self.all_names if name not in self.frozen]
        filler = next((by_name[name] for name in needed if name in by_name), 0.0)
        return tuple(
            filler if name in self.frozen else by_name[name]
            for name in self.all_names
            if name in self.frozen or name in by_name
        )

    def check_names(self, names: Collection[str]) -> None:
        """Raises ConfigError if there are no ``names``, or one is not a group."""
        if not names:
            raise ConfigError("", "is empty", "write a number, or one for each group")
        for name in names:
            if name not in self.all_names:
                raise ConfigError(name, "there is no such group", nearest(name, self.all_names))

    def check_length(self, length: int) -> None:
        """Raises ConfigError unless every group has a number; the default's is optional."""
        if not self.names and length > 1:
            problem = f"{length} numbers, but there is one group of parameters"
            raise ConfigError("", problem, "write a number, or set optimizer.groups")
        if self.names and length not in (len(self.names), len(self.names) + 1):
            listed = ", ".join(self.all_names)
            numbers = "1 number" if length == 1 else f"{length} numbers"
            problem = f"{numbers}, but there are {len(self.all_names)} groups ({listed})"
            raise ConfigError("", problem, "write one for each group in order, or by name")


def group_names(section: Any) -> GroupNames:
    """The groups that an ``optimizer`` section of plain values declares.

    Entries of the wrong type are skipped: they are reported when the section is validated.

    Raises:
      ConfigError: a name is not allowed, a frozen group does not exist, or all groups are frozen.
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
