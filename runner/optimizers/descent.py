"""Gradient descent, with momentum or by signs, without second moments."""

from __future__ import annotations

from typing import Annotated, Any

from etils import epy

from runner.config.types import Decay, Decays, Needs
from runner.optimizers.decay import mask
from runner.registry import register_optimizer

with epy.lazy_imports():
    import optax


@register_optimizer("sgd")
def sgd(
    learning_rate: Any,
    *,
    momentum: Decay | None = None,
    nesterov: Annotated[bool, Needs("momentum")] = False,
    weight_decay: Decays | None = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent as in PyTorch's SGD: weight decay is added to the gradient.

        g = grad + weight_decay * param
        m = momentum * m + g
        param -= learning_rate * (g + momentum * m if nesterov else m)

    If ``momentum`` or ``weight_decay`` is None, the term and its state are left out.
    """
    plain = optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    if weight_decay is None:
        return plain
    return optax.chain(optax.add_decayed_weights(weight_decay), plain)


@register_optimizer("signum", rate_scale=0.003)
def signum(learning_rate: Any, *, momentum: Decay = 0.9) -> optax.GradientTransformation:
    """SGD with the sign of the momentum (Bernstein et al. 2018, algorithm 2).

    ``momentum`` is optax's ``beta``.
    """
    return optax.signum(learning_rate, beta=momentum)


@register_optimizer("lion", rate_scale=0.003)
def lion(
    learning_rate: Any,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    weight_decay: Decays = 1e-3,
    decay_all: bool = True,
) -> optax.GradientTransformation:
    """SGD with the sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask(decay_all))
