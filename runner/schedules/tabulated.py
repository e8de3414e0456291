"""A schedule whose rates are given one by one."""

from __future__ import annotations

from typing import Any

from etils import epy

from runner.schedules.base import Schedule

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np


class Tabulated(Schedule, static=("cycles_momentum",)):
    """``rates[step]``, and after the end of the table its last entry.

    The whole table is an argument of the compiled program: tables of one length share a program.

    >>> from runner.schedules.tabulated import Tabulated
    >>> schedule = Tabulated(rates=[0.25, 0.5, 1.0])
    >>> [float(schedule(step)) for step in (0, 1, 2, 99)]
    [0.25, 0.5, 1.0, 1.0]
    """

    def __init__(self, *, rates: Any, momenta: Any = None) -> None:
        """
        Args:
          rates: numbers [n], or [n, groups] with a rate for each parameter group.
          momenta: numbers [n], or None to leave the optimizer's momentum as it is.
        """
        self.rates = np.asarray(rates, np.float32)
        self.cycles_momentum = momenta is not None
        if momenta is not None:
            self.momenta = np.asarray(momenta, np.float32)

    def _rate(self, steps: jax.Array) -> jax.Array:
        return jnp.asarray(self.rates)[self._places(steps)]

    def _momentum(self, steps: jax.Array) -> jax.Array:
        return jnp.asarray(self.momenta)[self._places(steps)]

    def _places(self, steps: jax.Array) -> jax.Array:
        return jnp.minimum(steps, np.uint32(len(self.rates) - 1))
