"""What any ``optimizer`` section may hold beside the optimizer's own settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from runner.checks import between, positive, whole
from runner.checks.values import rates
from runner.errors import ConfigError


@dataclass(frozen=True)
class Lookahead:
    """The section ``optimizer.lookahead``; None for ``sync_period`` is no lookahead."""

    sync_period: int | None
    slow_step_size: float

    def __post_init__(self) -> None:
        if self.sync_period is not None:
            whole("sync_period", self.sync_period, at_least=1)
        between("slow_step_size", self.slow_step_size, above=0, at_most=1)


@dataclass(frozen=True)
class Wrappers:
    """What surrounds an optimizer: clipping, lookahead, groups of parameters and their factors."""

    clip_value: float | None
    clip_norm: float | None
    lookahead: Lookahead
    groups: Mapping[str, str | tuple[str, ...]]
    frozen: tuple[str, ...]
    multiplier: float | tuple[float, ...] | Mapping[str, float]

    def __post_init__(self) -> None:
        for key in ("clip_value", "clip_norm"):
            if getattr(self, key) is not None:
                positive(key, getattr(self, key))
        if isinstance(self.multiplier, Mapping):
            for name, factor in self.multiplier.items():
                positive(f"multiplier.{name}", factor)
        else:
            rates("multiplier", self.multiplier, above=0)
        for name, patterns in self.patterns().items():
            if not patterns or "" in patterns:
                problem = "has no pattern, or an empty one"
                raise ConfigError(f"groups.{name}", problem, "write one such as Dense_0/*")

    def patterns(self) -> dict[str, tuple[str, ...]]:
        """The patterns of each group, by its name."""
        return {n: (p,) if isinstance(p, str) else p for n, p in self.groups.items()}
