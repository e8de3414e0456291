"""The product of schedules: a warm-up times a decay, or cycles times a decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from etils import epy

from runner.config.by_name import Parts
from runner.config.types import Rates
from runner.errors import INT32_MAX, ConfigError
from runner.pytree import Leaf
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.function import as_schedule
from runner.schedules.sequence import check_same_groups

if TYPE_CHECKING:
    from jax.typing import ArrayLike

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

# Its reciprocal is the smallest that float32 holds with all its digits.
HIGHEST_BASE = 8e37


@register_scheduler("chained")
class Chained(Schedule):
    """``base_lr`` times a factor for each part: the part's rate divided by its own base rate.

    ::

        rate = base_lr * prod(part(step) / part.base_rate for part in parts)

    All parts get the same step. A part's ``base_rate`` is its ``base_lr`` (for ``one_cycle`` the
    initial rate, for ``sequence`` that of its first part), so only the shape of a part matters, not
    its scale. The relative errors of the parts add up.

    Cycles are those of the first part that has any. Momentum is that of the last part that sets
    it.

    Source: PyTorch's ChainedScheduler, for parts that multiply the previous rate by a factor.
    There, parts that compute their rate in another way overwrite the effect of earlier parts.

    >>> from runner.schedules import Chained, Linear, Step
    >>> warmup = Linear(base_lr=1.0, start_factor=0.5, total_iters=2)
    >>> decay = Step(base_lr=1.0, step_size=3, gamma=0.5)
    >>> schedule = Chained(base_lr=4.0, parts={"warmup": warmup, "decay": decay})
    >>> [float(schedule(step)) for step in range(5)]
    [2.0, 3.0, 4.0, 2.0, 2.0]
    """

    def __init__(
        self, *, base_lr: Rates, parts: Annotated[Mapping[str, Schedule], Parts()]
    ) -> None:
        """Checks the arguments and keeps the parts in the order of ``parts``.

        Args:
          base_lr: the rate when every part is at its base rate.
          parts: name → schedule.

        Raises:
          ConfigError: its key is the invalid argument, with the part's name: ``parts.warmup``.
        """
        schedules = {name: as_schedule(part) for name, part in parts.items()}
        for name, part in schedules.items():
            _check_base_rate(name, part)
        check_same_groups(schedules, base_lr=base_lr)
        cyclic = [bool(part.cycle_ends(INT32_MAX)) for part in schedules.values()]
        self.base_lr = np.asarray(base_lr, np.float32)
        self.parts = tuple(schedules.values())
        self.first_cyclic = np.asarray(cyclic.index(True) if any(cyclic) else 0, np.int32)

    @property
    def cycles_momentum(self) -> bool:  # type: ignore[override]
        """Whether any part cycles the momentum."""
        return any(part.cycles_momentum for part in self.parts)

    def momentum(self, step: ArrayLike) -> jax.Array:
        """The momentum of update ``step``, float32; ValueError unless a part cycles it."""
        if not self.cycles_momentum:
            raise ValueError("no part of this Chained sets the momentum")
        return Schedule.momentum(self, step)

    def cycle_ends(self, steps: int) -> Sequence[int]:
        """The cycle ends of the first part that has cycles."""
        return self.parts[int(self.first_cyclic)].cycle_ends(steps)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The phase changes of the parts."""
        return [places for part in self.parts for places in part.phase_changes(steps)]

    @property
    def settled_at(self) -> int | None:
        """The step from which all parts stay the same."""
        places = [part.settled_at for part in self.parts]
        return None if None in places else max(place or 0 for place in places)

    def _rate(self, steps: jax.Array) -> jax.Array:
        rate: Leaf = self.base_lr
        for part in self.parts:
            # Not a division: XLA rewrites division by a scalar, and lanes would round differently.
            rate = rate * (part(steps) * (1 / part.base_rate))
        return rate

    def _momentum(self, steps: jax.Array) -> jax.Array:
        return [part.momentum(steps) for part in self.parts if part.cycles_momentum][-1]

    def _cycle(self, steps: jax.Array) -> jax.Array:
        return jnp.stack([part.cycle(steps) for part in self.parts])[self.first_cyclic]


def _check_base_rate(name: str, part: Schedule) -> None:
    key, base = f"parts.{name}", part.base_rate
    if base is None:
        problem = f"a {type(part).__name__} has no base rate to divide by"
        raise ConfigError(key, problem, "use a schedule with a base_lr")
    if not np.all(np.asarray(base) > 0):
        problem = "its base rate is 0, which its rates cannot be divided by"
        raise ConfigError(key, problem, "write a base_lr above 0 there")
    if not np.all(np.asarray(base) <= HIGHEST_BASE):
        problem = "its base rate is too high: float32 cannot hold its reciprocal"
        raise ConfigError(key, problem, f"write a base_lr of at most {HIGHEST_BASE:g} there")
