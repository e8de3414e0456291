"""Residual networks (He et al. 2016, Deep Residual Learning for Image Recognition)."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from runner.config.signature import checked
from runner.config.types import InnerShare, Positive
from runner.models.layers import (
    BATCH_NORM_MOMENTUM,
    NORM_EPSILON,
    batch_norm,
    pooled_by_three,
    with_channels,
)
from runner.registry import register_model

Depth = Literal[18, 20, 32, 34, 44, 50, 56, 110]


@dataclass(frozen=True)
class Layout:
    """What distinguishes the networks of the paper.

    widths, blocks: channels and number of blocks of each stage.
    cifar: section 4.2: a stem of one 3×3 convolution, and shortcuts that subsample and pad with
      zero channels (option A). Otherwise section 4.1: a stem of a 7×7 convolution and max pooling,
      both with stride 2, and projections where the shape changes (option B).
    bottleneck: blocks of 1×1, 3×3 and 1×1 convolutions with four times the channels at the end.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    cifar: bool
    bottleneck: bool = False

    @classmethod
    def of(cls, depth: Depth) -> "Layout":
        """The layout of the network with ``depth`` weighted layers."""
        stages = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}.get(depth)
        if stages is None:
            return cls((16, 32, 64), ((depth - 2) // 6,) * 3, cifar=True)
        return cls((64, 128, 256, 512), stages, cifar=False, bottleneck=depth == 50)


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the mean over all positions, and a dense layer.

    Convolutions have no biases and are initialised He normal by fan out (He et al. 2015); the
    dense layer's kernel is LeCun normal.

    Attributes:
      layout: the stages and the kind of blocks.
      num_outputs: number of outputs.
      zero_init: starts the last scale of each block at 0, so that blocks start as identities
        (Goyal et al. 2017, section 5.1).
      bn_momentum, bn_epsilon: of the batch normalisations.
    """

    layout: Layout
    num_outputs: int
    zero_init: bool = False
    bn_momentum: float = BATCH_NORM_MOMENTUM
    bn_epsilon: float = NORM_EPSILON

    @property
    def layer_order(self) -> tuple[str | tuple[str, str], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        blocks = (f"ResidualBlock_{i}" for i in range(sum(self.layout.blocks)))
        return (("Conv_0", "BatchNorm_0"), *blocks, "Dense_0")

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of images [batch, height, width, channels].

        Signals [batch, length, channels] or [batch, length] are convolved along their length.
        """
        layout = self.layout
        stem = {"kernel": 3} if layout.cifar else {"kernel": 7, "stride": 2}
        x = convolution(with_channels(x), layout.widths[0], **stem)
        momentum, epsilon = self.bn_momentum, self.bn_epsilon
        x = nn.relu(batch_norm(x, train=train, momentum=momentum, epsilon=epsilon))
        if not layout.cifar:
            x = pooled_by_three(x, jnp.maximum, start=1, fill=-jnp.inf)
        for stage, (width, count) in enumerate(zip(layout.widths, layout.blocks, strict=True)):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                x = ResidualBlock(width, stride, layout, self.zero_init, momentum, epsilon)(
                    x, train=train
                )
        return nn.Dense(self.num_outputs)(x.mean(axis=tuple(range(1, x.ndim - 1))))


class ResidualBlock(nn.Module):
    """A residual block: ``relu(shortcut(x) + f(x))``."""

    width: int
    stride: int
    layout: Layout
    zero_init: bool
    bn_momentum: float
    bn_epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[batch, ..., channels] → [batch, ..., channels] with the last axis and stride changed."""
        norm = partial(batch_norm, train=train, momentum=self.bn_momentum, epsilon=self.bn_epsilon)
        width, stride, y = self.width, self.stride, x
        if self.layout.bottleneck:
            y = nn.relu(norm(convolution(y, width, kernel=1)))
            # The stride is at the 3×3 convolution, as in torchvision; in the paper at the first.
            y = nn.relu(norm(convolution(y, width, stride=stride)))
            y = convolution(y, 4 * width, kernel=1)
        else:
            y = nn.relu(norm(convolution(y, width, stride=stride)))
            y = convolution(y, width)
        y = norm(y, zero_scale=self.zero_init)
        if x.shape == y.shape:
            return nn.relu(x + y)
        if self.layout.cifar:
            return nn.relu(_subsampled(x, stride, channels=y.shape[-1]) + y)
        return nn.relu(norm(convolution(x, y.shape[-1], kernel=1, stride=stride)) + y)


@register_model("resnet")
@checked
def resnet(
    *,
    depth: Depth = 20,
    zero_init: bool = False,
    bn_momentum: InnerShare = BATCH_NORM_MOMENTUM,
    bn_epsilon: Positive = NORM_EPSILON,
    num_outputs: int,
) -> nn.Module:
    """Builds a ``ResNet``: 20, 32, 44, 56 and 110 are the CIFAR networks, 18, 34, 50 ImageNet's.

    Raises:
      ConfigError: an argument is outside its bounds.
    """
    return ResNet(Layout.of(depth), num_outputs, zero_init, bn_momentum, bn_epsilon)


def convolution(x: jax.Array, width: int, *, kernel: int = 3, stride: int = 1) -> jax.Array:
    """A convolution without bias along every axis between batch and channels.

    Its padding is the same on both sides, so that PyTorch's kernels give PyTorch's results.
    """
    axes, half = x.ndim - 2, kernel // 2
    return nn.Conv(
        width,
        (kernel,) * axes,
        strides=(stride,) * axes,
        padding=[(half, half)] * axes,
        use_bias=False,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    )(x)


def _subsampled(x: jax.Array, stride: int, *, channels: int) -> jax.Array:
    """Every ``stride``-th entry along each axis, with zeros for the additional channels."""
    x = x[:, *[slice(None, None, stride)] * (x.ndim - 2)]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])])
