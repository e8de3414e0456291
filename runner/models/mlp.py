"""Fully connected networks: a linear classifier and the multilayer perceptron."""

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import Widths
from runner.registry import register_model


class MLP(nn.Module):
    """Dense layers with ReLU between them; without hidden layers, a linear classifier.

    Attributes:
      hidden: width of each hidden layer.
      num_outputs: number of outputs.
    """

    hidden: tuple[int, ...]
    num_outputs: int

    @property
    def layer_order(self) -> tuple[str, ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        return tuple(f"Dense_{i}" for i in range(len(self.hidden) + 1))

    @nn.compact
    def __call__(self, x_bhwc: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of float32 [batch, height, width, channels]."""
        x = x_bhwc.reshape(len(x_bhwc), -1)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal())(x))
        return nn.Dense(self.num_outputs)(x)


@register_model("linear")
def linear(*, num_outputs: int) -> nn.Module:
    """Multinomial logistic regression."""
    return MLP(hidden=(), num_outputs=num_outputs)


@register_model("mlp")
@checked
def mlp(*, hidden: Widths = (128, 128), num_outputs: int) -> nn.Module:
    """Builds an ``MLP`` with hidden layers.

    Raises:
      ConfigError: ``hidden`` is empty or a width is below 1.
    """
    return MLP(hidden=hidden, num_outputs=num_outputs)
