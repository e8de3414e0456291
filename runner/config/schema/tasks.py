"""What a ``task`` section may hold, by its name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The task ``check``."""

    compare: tuple[str, ...]
