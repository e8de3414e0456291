"""Caffe's ``cifar10_full``, the network of Smith 2017's experiments on CIFAR-10."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from runner.models.layers import pooled_by_three, with_channels
from runner.registry import register_model

WIDTHS = (32, 32, 64)


class Cifar10Full(nn.Module):
    """Three convolutions of kernel 5 with pooling of 3 at stride 2 (max, average, average).

    It has the layers of ``examples/cifar10/cifar10_full_train_test.prototxt`` in Caffe, except:

    - The local response normalisations are left out: they multiply by
      ``(1 + 5e-5 * mean square)**-0.75``, which is 1 to four digits for normalised inputs.
    - Kernels are initialised He normal (He et al. 2015), that of the output layer LeCun normal.
      Caffe's standard deviations (1e-4, 0.01, 0.01) are meant for pixel values up to 255.

    Attributes:
      num_outputs: number of outputs.
    """

    num_outputs: int

    @property
    def layer_order(self) -> tuple[str, ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        return (*(f"Conv_{i}" for i in range(len(WIDTHS))), "Dense_0")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of images [batch, height, width, channels].

        Signals [batch, length, channels] or [batch, length] are convolved along their length.
        """
        x = with_channels(x)
        for i, width in enumerate(WIDTHS):
            he_normal = nn.initializers.he_normal()
            x = nn.Conv(width, (5,) * (x.ndim - 2), kernel_init=he_normal)(x)
            x = nn.relu(_max_pool(x)) if i == 0 else _average_pool(nn.relu(x))
        return nn.Dense(self.num_outputs)(x.reshape(len(x), -1))


@register_model("cifar10_full")
def cifar10_full(*, num_outputs: int) -> nn.Module:
    """Builds a ``Cifar10Full``."""
    return Cifar10Full(num_outputs)


def _max_pool(x: jax.Array) -> jax.Array:
    return pooled_by_three(x, jnp.maximum, start=0, fill=-jnp.inf)


def _average_pool(x: jax.Array) -> jax.Array:
    """The mean over each window, of its entries within the image."""
    entries = pooled_by_three(jnp.ones((1, *x.shape[1:-1], 1), x.dtype), jnp.add, start=0, fill=0)
    return pooled_by_three(x, jnp.add, start=0, fill=0) / entries
