"""Rates that go from one value to another once, along a line or a power of it, and stay there."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_linear, check_polynomial
from runner.checks.values import resolved
from runner.registry import register_scheduler
from runner.schedules.base import Acyclic, Rates, as_steps, compiled, fill, pytree
from runner.schedules.share import power_of_ratio, ratio
from runner.schedules.span import Span


@register_scheduler("linear")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Linear(Acyclic):
    """A straight line between two shares of ``base_lr``: a warm-up, or a decay.

    ::

        share  = min(step, total_iters) / total_iters
        factor = start_factor + (end_factor - start_factor) * share
        rate   = base_lr * factor

    Both ends are exact.

    Source: PyTorch's LinearLR, of which this is the closed form; a ``start_factor`` of zero, which
    its recursion cannot take, is fine here.

    >>> from runner.schedules import Linear
    >>> schedule = Linear(base_lr=1.0, start_factor=0.5, end_factor=1.0, total_iters=2)
    >>> [float(schedule(step)) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    lr: Span
    falls: np.ndarray | jax.Array
    total_iters: np.ndarray | jax.Array

    def __init__(
        self,
        *,
        base_lr: Rates,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate that the factors are shares of.
          start_factor, end_factor: shares of it at step 0 and from step ``total_iters`` on.
          total_iters: updates from the one to the other.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_linear(
            base_lr=base_lr,
            start_factor=start_factor,
            end_factor=end_factor,
            total_iters=total_iters,
        )
        resolved(total_iters=total_iters)
        base = np.asarray(base_lr, np.float64)
        low, high = sorted((start_factor, end_factor))
        fill(
            self,
            lr=Span(base * low, base * high),
            falls=np.asarray(end_factor < start_factor),
            total_iters=np.asarray(total_iters, np.uint32),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _linear(self, as_steps(step))


@register_scheduler("polynomial")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Polynomial(Acyclic):
    """From ``base_lr`` to zero along a power of the share that is left.

    ::

        left = 1 - min(step, total_iters) / total_iters
        rate = base_lr * left ** power

    The share that is left is a quotient of integers, so nothing cancels near the end, and its
    rounding is made good before it is raised to the power.

    Source: PyTorch's PolynomialLR, of which this is the closed form.

    >>> from runner.schedules import Polynomial
    >>> schedule = Polynomial(base_lr=1.0, total_iters=4, power=2.0)
    >>> [float(schedule(step)) for step in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """

    base_lr: np.ndarray | jax.Array
    total_iters: np.ndarray | jax.Array
    power: np.ndarray | jax.Array
    power_rest: np.ndarray | jax.Array

    def __init__(self, *, base_lr: Rates, total_iters: int = 5, power: float = 1.0) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate at step 0.
          total_iters: updates until the rate is zero.
          power: of the share that is left; 1 is a straight line.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_polynomial(base_lr=base_lr, total_iters=total_iters, power=power)
        resolved(total_iters=total_iters)
        fill(
            self,
            base_lr=np.asarray(base_lr, np.float32),
            total_iters=np.asarray(total_iters, np.uint32),
            power=np.asarray(power, np.float32),
            power_rest=np.asarray(float(power) - float(np.float32(power)), np.float32),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _polynomial(self, as_steps(step))


@compiled
def _linear(schedule: Linear, steps: jax.Array) -> jax.Array:
    total = jnp.asarray(schedule.total_iters)
    done = jnp.minimum(steps, total)
    # From the lower end, so that a rate close to zero is a small number and no difference.
    covered = jnp.where(jnp.asarray(schedule.falls), total - done, done)
    return schedule.lr.at(ratio(covered, total))


@compiled
def _polynomial(schedule: Polynomial, steps: jax.Array) -> jax.Array:
    total = jnp.asarray(schedule.total_iters)
    left = total - jnp.minimum(steps, total)
    power, rest = jnp.asarray(schedule.power), jnp.asarray(schedule.power_rest)
    return jnp.asarray(schedule.base_lr) * power_of_ratio(left, total, power, rest)
