"""Rates multiplied by a factor: at every step, every so many steps, or at given ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from runner.checks.schedules import check_exponential, check_multistep, check_step
from runner.checks.values import resolved
from runner.registry import register_scheduler
from runner.schedules.base import Acyclic, Rates, as_steps, compiled, fill, pytree
from runner.schedules.power import Power, times_two_to


@register_scheduler("exponential")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Exponential(Acyclic):
    """A factor on the rate at every step, to float32's precision at every step to 2³¹ - 1.

    ::

        rate = base_lr * gamma ** step

    A rate below 1.2e-38 may be zero.

    Source: PyTorch's ExponentialLR, of which this is the closed form.

    >>> from runner.schedules import Exponential
    >>> schedule = Exponential(base_lr=1.0, gamma=0.5)
    >>> [float(schedule(step)) for step in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    base_lr: np.ndarray | jax.Array
    gamma: Power

    def __init__(self, *, base_lr: Rates, gamma: float) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate at step 0.
          gamma: the factor per update, above 0.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_exponential(base_lr=base_lr, gamma=gamma)
        fill(self, base_lr=np.asarray(base_lr, np.float32), gamma=Power(gamma))

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _decayed(self.base_lr, self.gamma, as_steps(step))


@register_scheduler("step")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class Step(Acyclic):
    """A factor on the rate after every ``step_size`` updates.

    ::

        rate = base_lr * gamma ** (step // step_size)

    Source: PyTorch's StepLR, of which this is the closed form.

    >>> from runner.schedules import Step
    >>> schedule = Step(base_lr=1.0, step_size=2, gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    base_lr: np.ndarray | jax.Array
    step_size: np.ndarray | jax.Array
    gamma: Power

    def __init__(self, *, base_lr: Rates, step_size: int, gamma: float = 0.1) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate of the first ``step_size`` updates.
          step_size: updates between two changes.
          gamma: the factor of each change, above 0.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_step(base_lr=base_lr, step_size=step_size, gamma=gamma)
        resolved(step_size=step_size)
        fill(
            self,
            base_lr=np.asarray(base_lr, np.float32),
            step_size=np.asarray(step_size, np.uint32),
            gamma=Power(gamma),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _stepped(self, as_steps(step))


@register_scheduler("multistep")
@pytree
@dataclass(frozen=True, init=False, eq=False)
class MultiStep(Acyclic):
    """A factor on the rate at each of the milestones.

    ::

        passed = sum(step >= milestone for milestone in milestones)
        rate   = base_lr * gamma ** passed

    How many milestones there are is part of what is compiled, where they lie is not.

    Source: PyTorch's MultiStepLR, of which this is the closed form; a milestone that is given
    twice, which counts twice there, is an error here.

    >>> from runner.schedules import MultiStep
    >>> schedule = MultiStep(base_lr=1.0, milestones=[2, 3], gamma=0.5)
    >>> [float(schedule(step)) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    base_lr: np.ndarray | jax.Array
    milestones: np.ndarray | jax.Array
    gamma: Power

    def __init__(self, *, base_lr: Rates, milestones: Sequence[int], gamma: float = 0.1) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate before the first milestone.
          milestones: the first update of each new rate, rising.
          gamma: the factor at each of them, above 0.

        Raises:
          ConfigError: its key is the name of the argument at fault.
        """
        check_multistep(base_lr=base_lr, milestones=milestones, gamma=gamma)
        resolved(**{f"milestones[{place}]": step for place, step in enumerate(milestones)})
        fill(
            self,
            base_lr=np.asarray(base_lr, np.float32),
            milestones=np.asarray(milestones, np.uint32),
            gamma=Power(gamma),
        )

    def __call__(self, step: ArrayLike) -> jax.Array:
        return _multistepped(self, as_steps(step))


@compiled
def _decayed(base_lr: np.ndarray | jax.Array, gamma: Power, times: jax.Array) -> jax.Array:
    excess, whole = gamma.split(times)
    return times_two_to(jnp.asarray(base_lr) * (1 + excess), whole)


@compiled
def _stepped(schedule: Step, steps: jax.Array) -> jax.Array:
    return _decayed(schedule.base_lr, schedule.gamma, steps // jnp.asarray(schedule.step_size))


@compiled
def _multistepped(schedule: MultiStep, steps: jax.Array) -> jax.Array:
    passed = steps[..., None] >= jnp.asarray(schedule.milestones)
    return _decayed(schedule.base_lr, schedule.gamma, passed.sum(-1, dtype=jnp.uint32))
