"""Steps along the gradient, its velocity, or their signs: no second moments."""

from typing import Any

import optax

from runner.errors import ConfigError
from runner.optimizers.decay import mask
from runner.registry import register_optimizer


@register_optimizer("sgd")
def sgd(
    learning_rate: Any, *, momentum: Any, nesterov: bool, weight_decay: Any
) -> optax.GradientTransformation:
    """Stochastic gradient descent as PyTorch's SGD: the decay joins the gradient.

        g = grad + weight_decay * param
        m = momentum * m + g
        param -= learning_rate * (g + momentum * m if nesterov else m)

    ``momentum`` or ``weight_decay`` of None leaves out the term and its state.

    Raises:
      ConfigError: ``nesterov`` without ``momentum``.
    """
    if nesterov and momentum is None:
        raise ConfigError("nesterov", "true without a momentum", "set momentum, or nesterov=false")
    plain = optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    if weight_decay is None:
        return plain
    return optax.chain(optax.add_decayed_weights(weight_decay), plain)


@register_optimizer("lion")
def lion(
    learning_rate: Any, *, b1: Any, b2: Any, weight_decay: Any, decay_all: bool
) -> optax.GradientTransformation:
    """The sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask(decay_all))
