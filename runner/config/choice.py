"""What was chosen of a config group."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runner.errors import ConfigError


@dataclass(frozen=True)
class Choice:
    """What was chosen of a group.

    Attributes:
      option: as a person chose it (``triangular2``): the name of its YAML file.
      name: the registered factory that the option configures (``cyclic``).
      arguments: keyword arguments for the factory; the ``parts`` of a sequence are choices too.
    """

    option: str
    name: str
    arguments: Mapping[str, Any]


def momentum_key(scheduler: Choice, key: str = "scheduler") -> str | None:
    """The key by which a scheduler, or the first part of it that does, cycles the momentum."""
    if scheduler.arguments.get("cycle_momentum") is True:
        return f"{key}.cycle_momentum"
    parts = scheduler.arguments["parts"] if scheduler.name == "sequence" else {}
    found = (momentum_key(part, f"{key}.parts.{name}") for name, part in parts.items())
    return next(filter(None, found), None)


@contextmanager
def comparing(option: str) -> Iterator[None]:
    """Has an error about a scheduler say that it is the ``option`` that ``task.compare`` names."""
    try:
        yield
    except ConfigError as error:
        key = f"task.compare {option}: {error.key}"
        raise ConfigError(key, error.problem, error.remedy) from error
