"""Rates that depend on evaluations: reduced when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from etils import epy

from runner.config.markers import Whole
from runner.config.types import AtMost, InnerShare, NonNegative, Rates
from runner.errors import INT32_MAX
from runner.pytree import Pytree
from runner.registry import register_scheduler
from runner.schedules.base import Schedule
from runner.schedules.numerics import Power, ldexp

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np

Evaluations = Annotated[int, Whole(0)]


class PlateauState(NamedTuple):
    """What the evaluations so far amount to; all zeros before the first.

    best, has_best: the best value, float32, and whether there is one.
    waited: evaluations since the last improvement, or since ``reached`` rose, int32.
    resting: evaluations during which none is counted, int32.
    reached: how often ``waited`` exceeded the patience, int32.
    """

    best: jax.Array
    has_best: jax.Array
    waited: jax.Array
    resting: jax.Array
    reached: jax.Array


class Plateau(Pytree, static=("is_relative",)):
    """Counts evaluations without an improvement, as PyTorch's ReduceLROnPlateau does."""

    def __init__(
        self, *, patience: int, threshold: float, is_relative: bool, cooldown: int = 0
    ) -> None:
        """Takes the settings of ``ReduceOnPlateau`` with these names."""
        self.patience = np.asarray(patience, np.int32)
        self.threshold = np.asarray(threshold, np.float32)
        self.cooldown = np.asarray(cooldown, np.int32)
        self.is_relative = is_relative

    def start(self) -> PlateauState:
        """The state before the first evaluation."""
        zero = jnp.zeros((), jnp.int32)
        return PlateauState(jnp.zeros((), jnp.float32), jnp.zeros((), bool), zero, zero, zero)

    def after(self, state: PlateauState, value: jax.Array, *, highest: bool) -> PlateauState:
        """The state after an evaluation that measured ``value``, of which the highest is best."""
        sign = 1 if highest else -1
        margin = state.best * self.threshold if self.is_relative else self.threshold
        is_better = sign * value > sign * state.best + margin
        improves = is_better | (~state.has_best & ~jnp.isnan(value))
        waited = jnp.where(improves | (state.resting > 0), 0, state.waited + 1)
        reaches = waited > self.patience
        return PlateauState(
            best=jnp.where(improves, value, state.best),
            has_best=state.has_best | improves,
            waited=jnp.where(reaches, 0, waited),
            resting=jnp.where(reaches, self.cooldown, jnp.maximum(state.resting - 1, 0)),
            reached=state.reached + reaches,
        )


@register_scheduler("reduce_on_plateau")
class ReduceOnPlateau(Schedule):
    """A constant rate, multiplied by ``factor`` whenever a metric has stopped improving.

    ::

        rate = max(base_lr * factor ** n, eta_min)

    after n reductions. A reduction follows an evaluation if the metric that ranks evaluations has
    not improved in more than ``patience`` of them. One that would change a rate by no more than
    ``eps`` is left out. As a function of the step alone, it is ``base_lr``.

    Source: PyTorch's ReduceLROnPlateau, with ``eta_min`` for ``min_lr``; ``n`` is the number of
    reductions so far, and the mode follows from the metric.

    >>> from runner.schedules import ReduceOnPlateau
    >>> schedule = ReduceOnPlateau(base_lr=0.5, factor=0.5, patience=0)
    >>> state = schedule.plateau.start()
    >>> for loss in (1.0, 0.9, 0.9):
    ...     state = schedule.plateau.after(state, loss, highest=False)
    >>> float(schedule.reduced(state))
    0.25
    """

    staged = True

    def __init__(
        self,
        base_lr: Rates,
        *,
        factor: InnerShare = 0.1,
        patience: Evaluations = 10,
        threshold: NonNegative = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: Evaluations = 0,
        eta_min: Annotated[Rates, AtMost("base_lr")] = 0.0,
        eps: NonNegative = 1e-8,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          base_lr: the rate before the first reduction.
          factor: of a reduction.
          patience: evaluations without an improvement that are waited for.
          threshold: an improvement is more than this share (``rel``) or amount (``abs``).
          threshold_mode: see ``threshold``.
          cooldown: evaluations after a reduction that are not counted.
          eta_min: the lowest rate.
          eps: the smallest reduction.

        Raises:
          ConfigError: its key is the name of the invalid argument.
        """
        self.base_lr = np.asarray(base_lr, np.float32)
        self.eta_min = np.asarray(eta_min, np.float32)
        self.factor = Power(factor)
        most = np.vectorize(_most_reductions, otypes=[np.int32])
        self.most_reductions = most(np.asarray(base_lr, float), factor, eta_min, eps)
        self.plateau = Plateau(
            patience=patience,
            threshold=threshold,
            is_relative=threshold_mode == "rel",
            cooldown=cooldown,
        )

    def reduced(self, state: PlateauState) -> jax.Array:
        """The rate after the evaluations so far, float32 of ``base_lr``'s shape."""
        reductions = jnp.minimum(state.reached, self.most_reductions)
        excess, exponent = self.factor.split(reductions.astype(jnp.uint32))
        return jnp.maximum(ldexp(self.base_lr * (1 + excess), exponent), self.eta_min)

    def phase_changes(self, steps: int) -> Sequence[Sequence[int]]:
        return []

    def _rate(self, steps: jax.Array) -> jax.Array:
        return jnp.where(steps >= 0, self.base_lr, 0)


def _most_reductions(rate: float, factor: float, lowest: float, eps: float) -> int:
    """Reductions until the next one would change ``rate`` by no more than ``eps``."""
    change = rate * (1 - factor)
    if change <= eps:
        return 0
    needed = [eps / change, (lowest + eps) / rate]
    counts = [math.ceil(math.log(share, factor)) for share in needed if share > 0]
    return min([*counts, INT32_MAX])
