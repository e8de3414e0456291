"""Fully connected networks: a linear model and the multilayer perceptron."""

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import DropoutRate, Widths
from runner.models.layers import ACTIVATIONS, Activation, Norm, named_layers, normalized
from runner.registry import register_model


class MLP(nn.Module):
    """Hidden layers (dense, normalisation, activation, dropout), then a dense output layer.

    Hidden kernels are initialised He normal (He et al. 2015), that of the output layer LeCun
    normal, and biases with zeros.

    Attributes:
      hidden: width of each hidden layer; without any, the model is linear.
      num_outputs: number of outputs.
      activation: of the hidden layers; ``gelu`` is the tanh approximation.
      norm: normalisation before the activation.
      dropout: share of the hidden activations that are zeroed in training.
    """

    hidden: tuple[int, ...]
    num_outputs: int
    activation: Activation = "relu"
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def layer_order(self) -> tuple[str | tuple[str, str], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        depth = len(self.hidden)
        return (*named_layers("Dense", depth, self.norm), f"Dense_{depth}")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of inputs [batch, ...], which are flattened."""
        x = x.reshape(len(x), -1)
        for width in self.hidden:
            x = nn.Dense(width, kernel_init=nn.initializers.he_normal())(x)
            x = ACTIVATIONS[self.activation](normalized(x, self.norm, train=train))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


@register_model("linear")
def linear(*, num_outputs: int) -> nn.Module:
    """One affine map: linear regression, or multinomial logistic regression."""
    return MLP(hidden=(), num_outputs=num_outputs)


@register_model("mlp")
@checked
def mlp(
    *,
    hidden: Widths = (128, 128),
    activation: Activation = "relu",
    norm: Norm = "none",
    dropout: DropoutRate = 0.0,
    num_outputs: int,
) -> nn.Module:
    """Builds an ``MLP`` with hidden layers.

    Raises:
      ConfigError: ``hidden`` is empty, or an argument is outside its bounds.
    """
    return MLP(hidden, num_outputs, activation, norm, dropout)
