"""Wide residual networks (Zagoruyko and Komodakis 2016)."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import Count, DropoutRate, InnerShare, Positive
from runner.models.layers import BATCH_NORM_MOMENTUM, NORM_EPSILON, batch_norm, with_channels
from runner.models.resnet import convolution
from runner.registry import register_model


class WideResNet(nn.Module):
    """A 3×3 convolution, three stages of pre-activation blocks, the mean, and a dense layer.

    The stages have 16, 32 and 64 channels times ``width``. Convolutions have no biases and are
    initialised He normal by fan out (He et al. 2015); the dense layer's kernel is LeCun normal.

    Attributes:
      depth: number of weighted layers, 6n + 4 with n blocks a stage.
      width: the widening factor.
      num_outputs: number of outputs.
      dropout: share of the activations between the two convolutions of a block that are zeroed
        in training.
      bn_momentum, bn_epsilon: of the batch normalisations.
    """

    depth: int
    width: int
    num_outputs: int
    dropout: float = 0.0
    bn_momentum: float = BATCH_NORM_MOMENTUM
    bn_epsilon: float = NORM_EPSILON

    @property
    def layer_order(self) -> tuple[str | tuple[str, str], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        blocks = (f"WideBlock_{i}" for i in range((self.depth - 4) // 2))
        return ("Conv_0", *blocks, ("BatchNorm_0", "Dense_0"))

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of images [batch, height, width, channels].

        Signals [batch, length, channels] or [batch, length] are convolved along their length.
        """
        x = convolution(with_channels(x), 16)
        for stage in range(3):
            for i in range((self.depth - 4) // 6):
                x = WideBlock(
                    16 * 2**stage * self.width,
                    stride=2 if stage > 0 and i == 0 else 1,
                    dropout=self.dropout,
                    bn_momentum=self.bn_momentum,
                    bn_epsilon=self.bn_epsilon,
                )(x, train=train)
        x = batch_norm(x, train=train, momentum=self.bn_momentum, epsilon=self.bn_epsilon)
        return nn.Dense(self.num_outputs)(nn.relu(x).mean(axis=tuple(range(1, x.ndim - 1))))


class WideBlock(nn.Module):
    """Normalisation, ReLU and convolution twice, with dropout between, added to the shortcut."""

    channels: int
    stride: int
    dropout: float
    bn_momentum: float
    bn_epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[batch, ..., channels] → [batch, ..., channels] with the last axis and stride changed."""
        norm = partial(batch_norm, train=train, momentum=self.bn_momentum, epsilon=self.bn_epsilon)
        activated = nn.relu(norm(x))
        y = convolution(activated, self.channels, stride=self.stride)
        y = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(norm(y)))
        y = convolution(y, self.channels)
        if x.shape != y.shape:
            x = convolution(activated, self.channels, kernel=1, stride=self.stride)
        return x + y


@register_model("wide_resnet")
@checked
def wide_resnet(
    *,
    depth: Literal[10, 16, 22, 28, 40] = 16,
    width: Count = 4,
    dropout: DropoutRate = 0.0,
    bn_momentum: InnerShare = BATCH_NORM_MOMENTUM,
    bn_epsilon: Positive = NORM_EPSILON,
    num_outputs: int,
) -> nn.Module:
    """Builds a ``WideResNet``.

    Raises:
      ConfigError: an argument is outside its bounds.
    """
    return WideResNet(depth, width, num_outputs, dropout, bn_momentum, bn_epsilon)
