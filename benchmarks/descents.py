"""Optimizers under schedules, written with optax for the settings of ``throughput.py``."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# Parameter groups of ``surrounded``: bounds of the rate and weight decay.
BOUNDS = {"first": (0.01, 0.2), "second": (0.005, 0.1), "default": (0.001, 0.05)}
DECAYS = {"first": 0.001, "second": 0.0001, "default": 0.0}


class Descent(NamedTuple):
    """An optimizer under a schedule.

    init: params → optimizer state.
    apply: (step, params, optimizer state, gradients) → params and optimizer state.
    """

    init: Callable[..., Any]
    apply: Callable[..., tuple[Any, Any]]


def triangular(step: jax.Array, low: float = 0.01, high: float = 0.2) -> jax.Array:
    """The triangular schedule with a step size of 88."""
    position = step % 176
    return low + (high - low) * jnp.where(position <= 88, position / 88, (176 - position) / 88)


def one_cycle(step: jax.Array, *, steps: int, max_lr: float) -> tuple[jax.Array, jax.Array]:
    """Rate and momentum of the 1cycle policy with PyTorch's defaults."""
    peak, last = 0.3 * steps - 1, steps - 1
    rises = step <= peak
    share = jnp.where(rises, step / peak, (last - step) / (last - peak))
    height = (1 - jnp.cos(jnp.pi * share)) / 2
    low = jnp.where(rises, max_lr / 25, max_lr / 25 / 1e4)
    return low + (max_lr - low) * height, 0.95 - 0.1 * height


def sgd() -> Descent:
    """SGD with momentum 0.9 under the triangular schedule."""
    return _descent(lambda step: optax.sgd(triangular(step), momentum=0.9))


def sgd_one_cycle(steps: int) -> Descent:
    """SGD with weight decay under 1cycle, which cycles the momentum."""

    def tx(step):
        rate, momentum = one_cycle(step, steps=steps, max_lr=0.5)
        return optax.chain(
            optax.add_decayed_weights(5e-4), optax.sgd(rate, momentum=momentum, nesterov=False)
        )

    return _descent(tx)


def adam_one_cycle(steps: int, max_lr: float) -> Descent:
    """Adam under 1cycle, which cycles ``b1``."""

    def tx(step):
        rate, momentum = one_cycle(step, steps=steps, max_lr=max_lr)
        return optax.adam(rate, b1=momentum)

    return _descent(tx)


def adamw_one_cycle(steps: int) -> Descent:
    """AdamW under 1cycle; biases and the scales of normalisations are not decayed."""

    def tx(step):
        rate, _ = one_cycle(step, steps=steps, max_lr=0.004)
        return optax.adamw(rate, weight_decay=0.01, mask=_has_two_dimensions)

    return _descent(tx)


def surrounded() -> Descent:
    """SGD with a rate and weight decay for each layer, clipping, and an average of the params."""
    labels = {"Dense_0": "first", "Dense_1": "second", "Dense_2": "default"}
    average = optax.ema(0.99)

    def tx(step):
        rate = {name: triangular(step, low, high) for name, (low, high) in BOUNDS.items()}
        parts: dict[Hashable, optax.GradientTransformation] = {
            name: optax.chain(
                optax.add_decayed_weights(DECAYS[name]), optax.sgd(rate[name], momentum=0.9)
            )
            for name in BOUNDS
        }
        return optax.chain(optax.clip_by_global_norm(1.0), optax.partition(parts, labels))

    plain = _descent(tx)

    def init(params):
        return plain.init(params), average.init(params)

    def apply(step, params, states, grads):
        params, opt_state = plain.apply(step, params, states[0], grads)
        _, ema_state = average.update(params, states[1])
        return params, (opt_state, ema_state)

    return Descent(init, apply)


def _has_two_dimensions(params: Any) -> Any:
    return jax.tree.map(lambda param: param.ndim >= 2, params)


def _descent(tx: Callable[[Any], optax.GradientTransformation]) -> Descent:
    """The transformation ``tx(step)``, built inside the traced step."""

    def apply(step, params, opt_state, grads):
        updates, opt_state = tx(step).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return Descent(lambda params: tx(0).init(params), apply)
