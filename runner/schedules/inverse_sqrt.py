"""A warm-up, then decay with the inverse square root of the step: the Noam schedule."""

from __future__ import annotations

from collections.abc import Sequence

from etils import epy

from runner.config.types import Rates, Steps, StepsFromZero
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule, within
from runner.schedules.numerics import ratio

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


@register_scheduler("inverse_sqrt")
class InverseSqrt(Schedule):
    """A linear warm-up to ``base_lr``, then decay with the inverse square root of the step.

    If ``timescale`` is None, it equals ``warmup``::

        climb = min(step + 1, warmup) / warmup              if warmup
                1                                           otherwise
        decay = (timescale / max(step + shift, timescale)) ** 0.5
        rate  = base_lr * climb * decay

    Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv:1706.03762),
    equation 3, which the defaults give: there ``base_lr`` is ``(d_model * warmup) ** -0.5``.

    Difference: Hugging Face's get_inverse_sqrt_schedule has a ``shift`` of ``timescale - warmup``
    and a warm-up of ``step / warmup``, which starts at zero.

    >>> from runner.schedules import InverseSqrt
    >>> schedule = InverseSqrt(base_lr=1.0, warmup=4)
    >>> [float(schedule(step)) for step in (0, 1, 3, 15, 63)]
    [0.25, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        *,
        base_lr: Rates,
        warmup: StepsFromZero = 4000,
        timescale: Steps | None = None,
        shift: StepsFromZero = 1,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate before the decay.
          warmup: updates of the warm-up, the last of which has ``base_lr``; 0 for none.
          timescale: the decay begins when ``step + shift`` exceeds it; at four times its value,
            the rate has halved. None for ``warmup``.
          shift: steps added to ``step`` in the decay.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        if timescale is None and not warmup:
            problem = "has no value, and there is no warm-up to take it from"
            raise ConfigError("timescale", problem, "write a length, such as 1000")
        self.base_lr = np.asarray(base_lr, np.float32)
        self.warmup = np.asarray(warmup, np.uint32)
        self.timescale = np.asarray(timescale or warmup, np.uint32)
        self.shift = np.asarray(shift, np.uint32)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        """The end of the warm-up, and the start of the decay."""
        return [within([self.warmup, int(self.timescale) - int(self.shift)], steps)]

    def _rate(self, steps: jax.Array) -> jax.Array:
        longest = jnp.maximum(self.warmup, 1)
        climb = ratio(jnp.minimum(steps + 1, longest), longest)
        decay = ratio(self.timescale, jnp.maximum(steps + self.shift, self.timescale))
        return climb * jnp.sqrt(decay) * self.base_lr
