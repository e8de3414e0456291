"""A small convolutional network for signals and images of any size."""

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import Count, DropoutRate, Widths
from runner.models.layers import Norm, halved, named_layers, normalized, with_channels
from runner.registry import register_model


class CNN(nn.Module):
    """Blocks of convolution, normalisation, ReLU and max pooling, then a hidden dense layer.

    The kernel covers 3 entries and the pooling 2 along each axis. The design is that of LeNet-5
    (LeCun et al. 1998). Kernels are initialised He normal (He et al. 2015), that of the output
    layer LeCun normal, and biases with zeros.

    Attributes:
      features: channels of each block.
      dense: width of the hidden dense layer.
      num_outputs: number of outputs.
      norm: normalisation after each convolution.
      dropout: share of the hidden dense layer's activations that are zeroed in training.
    """

    features: tuple[int, ...]
    dense: int
    num_outputs: int
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def layer_order(self) -> tuple[str | tuple[str, str], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        return (*named_layers("Conv", len(self.features), self.norm), "Dense_0", "Dense_1")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of images [batch, height, width, channels].

        Signals [batch, length, channels] or [batch, length] are convolved along their length.
        """
        x, he_normal = with_channels(x), nn.initializers.he_normal()
        for width in self.features:
            x = nn.Conv(width, (3,) * (x.ndim - 2), kernel_init=he_normal)(x)
            x = halved(nn.relu(normalized(x, self.norm, train=train)))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(self.dense, kernel_init=he_normal)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


@register_model("cnn")
@checked
def cnn(
    *,
    features: Widths = (16, 32),
    dense: Count = 64,
    norm: Norm = "none",
    dropout: DropoutRate = 0.0,
    num_outputs: int,
) -> nn.Module:
    """Builds a ``CNN``.

    Raises:
      ConfigError: ``features`` is empty, or an argument is outside its bounds.
    """
    return CNN(features, dense, num_outputs, norm, dropout)
