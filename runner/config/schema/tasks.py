"""Settings of the tasks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    compare: tuple[str, ...]
