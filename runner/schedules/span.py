"""The values between two bounds, exact at both ends and precise everywhere."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from runner.schedules.base import fill, pytree
from runner.schedules.power import times_two_to


@pytree
@dataclass(frozen=True, init=False, eq=False)
class Span:
    """``low + (high - low) * share``, as a pytree of float32 arrays.

    The width is subtracted before it is rounded: with bounds close to each other, the difference
    of two float32 numbers has lost the digits that a share above one would bring to light.
    """

    low: np.ndarray | jax.Array
    high: np.ndarray | jax.Array
    width: np.ndarray | jax.Array

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        """``low`` and ``high``: numbers, or lists [groups] of them; a number goes with each."""
        lows, highs = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
        fill(
            self,
            low=np.asarray(lows, np.float32),
            high=np.asarray(highs, np.float32),
            width=np.asarray(highs - lows, np.float32),
        )

    def at(self, share: jax.Array, whole: jax.Array | None = None) -> jax.Array:
        """The value at ``share * 2 ** whole`` (``whole`` 0 if None), float32.

        All terms are of one sign, so nothing cancels. A share of one gives ``high`` to the bit
        and a share below one never exceeds it. ``whole`` is applied last, so that a share too
        small for float32 still counts where its product with the width is not.
        """
        low, high, width = (jnp.asarray(bound) for bound in (self.low, self.high, self.width))
        if whole is None:
            value, share = low + width * share, share
        else:
            value, share = low + times_two_to(width * share, whole), times_two_to(share, whole)
        return jnp.where(share < 1, jnp.minimum(value, high), jnp.where(share == 1, high, value))
