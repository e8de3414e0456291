"""A small convolutional network for grey or colour images of any size."""

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import Count, Widths
from runner.registry import register_model


class CNN(nn.Module):
    """Blocks of 3×3 convolution, ReLU and 2×2 max pooling, then one hidden dense layer.

    Attributes:
      features: channels of each block.
      dense: width of the hidden dense layer.
      num_outputs: number of outputs.
    """

    features: tuple[int, ...]
    dense: int
    num_outputs: int

    @property
    def layer_order(self) -> tuple[str, ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        return (*(f"Conv_{i}" for i in range(len(self.features))), "Dense_0", "Dense_1")

    @nn.compact
    def __call__(self, x_bhwc: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of float32 [batch, height, width, channels]."""
        he_normal = nn.initializers.he_normal()
        for width in self.features:
            x_bhwc = nn.relu(nn.Conv(width, (3, 3), kernel_init=he_normal)(x_bhwc))
            x_bhwc = _max_pool(x_bhwc)
        x = x_bhwc.reshape(len(x_bhwc), -1)
        x = nn.relu(nn.Dense(self.dense, kernel_init=he_normal)(x))
        return nn.Dense(self.num_outputs)(x)


@register_model("cnn")
@checked
def cnn(*, features: Widths = (16, 32), dense: Count = 64, num_outputs: int) -> nn.Module:
    """Builds a ``CNN``.

    Raises:
      ConfigError: ``features`` is empty, or a width is below 1.
    """
    return CNN(features=features, dense=dense, num_outputs=num_outputs)


def _max_pool(x_bhwc: jax.Array) -> jax.Array:
    """2×2 max pooling; drops a last odd row or column, but keeps an axis of length 1."""
    b, h, w, c = x_bhwc.shape
    rows, columns = min(h, 2), min(w, 2)
    h, w = h // rows, w // columns
    windows = x_bhwc[:, : h * rows, : w * columns].reshape(b, h, rows, w, columns, c)
    # nn.max_pool gives the same, but its gradient makes a training step on a CPU take three times
    # as long.
    return windows.max(axis=(2, 4))
