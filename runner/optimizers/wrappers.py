"""Wrappers around an optimizer: gradient clipping before it, lookahead and averaging after it.

Whether a wrapper is present or None is static; its hyperparameters are arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from etils import epy

from runner.pytree import Pytree

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax


@dataclass(frozen=True)
class Lookahead(Pytree):
    """Slow parameters that follow the fast ones (Zhang et al. 2019, algorithm 1).

    After every ``sync_period``-th update, the slow parameters move a fraction ``slow_step_size`` of
    the way to the fast ones, and the fast ones are reset to them. The optimizer state is not reset.
    optax's lookahead counts steps in its state; this one uses the step of the run.

    sync_period: int32 scalar, at least 1.
    slow_step_size: float32 scalar, above 0.
    """

    sync_period: Any
    slow_step_size: Any

    def after(self, step: jax.Array, params: Any, slow: Any) -> tuple[Any, Any]:
        """The fast and the slow parameters after update ``step``."""
        syncs = (step + 1) % self.sync_period == 0
        share = self.slow_step_size
        slow = jax.tree.map(lambda s, p: jnp.where(syncs, s + share * (p - s), s), slow, params)
        return jax.tree.map(lambda p, s: jnp.where(syncs, s, p), params, slow), slow


@dataclass(frozen=True)
class Average(Pytree):
    """The exponential moving average of parameters, unbiased from the first update on.

    With p_i the parameters after update i (0 is the first), the average after update t is::

        sum of decay ** (t - i) * p_i   /   sum of decay ** (t - i)        over i from 0 to t

    so the initial parameters do not enter. It equals ``optax.ema(decay, debias=True)`` up to
    rounding: with a decay of 0.999, the first averages of optax are off by 3e-5, these by less than
    4e-6, and constant parameters are reproduced exactly.

    rest, log_decay: 1 - decay and log(decay), each rounded once, float32 scalars.
    """

    rest: Any
    log_decay: Any

    @classmethod
    def of(cls, decay: float) -> Average:
        """``decay`` is above 0 and below 1."""
        return cls(np.float32(1 - decay), np.float32(np.log(decay)))

    def after(self, step: jax.Array, params: Any, average: Any) -> Any:
        """The average after update ``step``, which has led to ``params``."""
        updates = (step + 1).astype(jnp.float32)
        share = self.rest / -jnp.expm1(updates * self.log_decay)
        first = step == 0
        return jax.tree.map(lambda a, p: jnp.where(first, p, a + share * (p - a)), average, params)


@dataclass(frozen=True)
class Wrappers(Pytree):
    """The hyperparameters of the wrappers around an optimizer; None for one that is absent.

    multiplier: factor of the schedule's rate, a scalar or one for each group.
    layer_decay: each layer's rate as a fraction of that of the layer above it, a scalar.
    clip_value: largest absolute value of a gradient's entries; clipped before the norm is taken.
    clip_norm: largest global norm of the gradients; larger ones are scaled down to it.
    """

    multiplier: Any
    layer_decay: Any
    clip_value: Any
    clip_norm: Any
    lookahead: Lookahead | None
    average: Average | None

    @classmethod
    def of(
        cls,
        *,
        multiplier: float | tuple[float, ...] = 1.0,
        layer_decay: float | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        sync_period: int | None = None,
        slow_step_size: float = 0.5,
        ema_decay: float | None = None,
    ) -> Wrappers:
        """The wrappers with these hyperparameters, plain numbers; None leaves one out."""
        lookahead = average = None
        if sync_period is not None:
            lookahead = Lookahead(np.int32(sync_period), np.float32(slow_step_size))
        if ema_decay is not None:
            average = Average.of(ema_decay)
        return cls(
            multiplier=np.asarray(multiplier, np.float32),
            layer_decay=None if layer_decay is None else np.float32(layer_decay),
            clip_value=None if clip_value is None else np.float32(clip_value),
            clip_norm=None if clip_norm is None else np.float32(clip_norm),
            lookahead=lookahead,
            average=average,
        )

    def around(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        """``tx`` after gradient clipping; the state of ``tx`` is the last one in the chain's."""
        clips = []
        if self.clip_value is not None:
            clips.append(optax.clip(self.clip_value))
        if self.clip_norm is not None:
            clips.append(optax.clip_by_global_norm(self.clip_norm))
        return optax.chain(*clips, tx)
