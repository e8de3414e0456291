"""Constant rates between boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from etils import epy

from runner.config.by_name import PerGroup, require_same_length
from runner.config.markers import Number, Series
from runner.config.types import Milestones, Rates
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

RateSeries = Annotated[
    Sequence[Rates], Series(PerGroup(Number(ge=0), "rates"), nouns="rates", example="[0.1,0.01]")
]


@register_scheduler("piecewise")
class Piecewise(Schedule):
    """Constant rates that change at given boundaries.

    ::

        passed = sum(step >= boundary for boundary in boundaries)
        rate   = values[passed]

    The number of boundaries is static; the boundaries and the values are not.

    Source: optax's piecewise_constant_schedule, given the rates instead of their ratios.
    Keras's PiecewiseConstantDecay applies each new value one step later.

    >>> from runner.schedules import Piecewise
    >>> schedule = Piecewise(boundaries=[2, 3], values=[1.0, 0.5, 0.25])
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    staged = True

    def __init__(self, *, boundaries: Milestones, values: RateSeries) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          boundaries: the first update of each new rate, in increasing order.
          values: the rates, one more than there are boundaries; each a number, or a list with
            one for each group.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        if len(values) != len(boundaries) + 1:
            problem = f"{len(values)} rates for {len(boundaries)} boundaries"
            raise ConfigError("values", problem, f"write {len(boundaries) + 1}, one more")
        require_same_length(
            {
                f"values[{i}]": len(value)
                for i, value in enumerate(values)
                if isinstance(value, tuple)
            }
        )
        rates = np.broadcast_arrays(*(np.asarray(value, np.float32) for value in values))
        self.boundaries = np.asarray(boundaries, np.uint32)
        self.values = np.stack(rates)

    @property
    def base_rate(self) -> Any:
        """The first of the values."""
        return self.values[0]

    @property
    def settled_at(self) -> int | None:
        """The last boundary."""
        return int(self.boundaries[-1])

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The boundaries."""
        return [within(self.boundaries, steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        passed = (steps[..., None] >= self.boundaries).sum(-1, dtype=jnp.uint32)
        return self.values[passed]
