"""Adam that estimates its own rate from the distance the parameters have moved."""

from __future__ import annotations

from typing import Any

from etils import epy

from runner.config.types import Decay, Decays, Positive
from runner.registry import register_optimizer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax
    from optax import contrib


@register_optimizer("prodigy", rate_scale=10.0)
def prodigy(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    beta3: Decay | None = None,
    eps: Positive = 1e-8,
    estim_lr0: Positive = 1e-6,
    estim_lr_coef: Positive = 1.0,
    weight_decay: Decays = 0.0,
    safeguard_warmup: bool = False,
) -> optax.GradientTransformation:
    """AdamW with an estimated rate (Mishchenko and Defazio 2024, algorithm 4).

    The rate of an update is ``learning_rate`` (usually 1.0) times an estimate of the distance
    between the initial parameters and a solution, which grows from ``estim_lr0``. Each parameter
    group has its own estimate. If ``beta3`` is None, it is the square root of ``b2``.

    As in the authors' code, an update at a rate of 0, or while all gradients have been 0, changes
    nothing. In optax such an update counts, and if it is the first one, the estimate is 0 / 0.
    """
    tx = contrib.prodigy(
        learning_rate,
        betas=(b1, b2),
        beta3=beta3,
        eps=eps,
        estim_lr0=estim_lr0,
        estim_lr_coef=estim_lr_coef,
        weight_decay=weight_decay,
        safeguard_warmup=safeguard_warmup,
    )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        after: Any = tx.update(updates, state, params)
        before = jax.tree.map(jnp.zeros_like, updates), state
        sums = optax.tree.sum(jax.tree.map(jnp.abs, after[1].grad_sum))
        idle = jnp.logical_or(jnp.equal(learning_rate, 0), sums == 0)
        return jax.tree.map(lambda old, new: jnp.where(idle, old, new), before, after)

    return optax.GradientTransformation(tx.init, update)
