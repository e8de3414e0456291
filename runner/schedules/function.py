"""Wraps any function of the step, such as an optax schedule, as a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etils import epy

from runner.schedules.base import Schedule

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp


class FunctionSchedule(Schedule, static=("function",)):
    """Any function of the step, such as an optax schedule; its numbers become constants.

    ::

        rate = function(step)

    Source: optax's definition of a schedule.

    >>> from runner.schedules import FunctionSchedule
    >>> float(FunctionSchedule(lambda step: 1 / (1 + step))(3))
    0.25
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        """Takes a function from a step, int32, to a rate."""
        self.function = function

    def _rate(self, steps: jax.Array) -> jax.Array:
        rate = jnp.asarray(self.function(steps.astype(jnp.int32)), jnp.float32)
        return jnp.broadcast_to(rate, steps.shape)


def as_schedule(value: Any) -> Any:
    """``value``, or a FunctionSchedule that calls it if it is a plain function."""
    return FunctionSchedule(value) if callable(value) and not hasattr(value, "cycle") else value
