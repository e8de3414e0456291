"""The vision transformer (Dosovitskiy et al. 2021)."""

from itertools import chain

import flax.linen as nn
import jax

from runner.config.signature import checked
from runner.config.types import Count, DropoutRate
from runner.errors import ConfigError
from runner.models.attention import KERNEL_STD, TransformerBlock, dense, require_heads
from runner.models.layers import with_channels
from runner.registry import register_model


class ViT(nn.Module):
    """A pre-norm transformer encoder over patches, the mean over its outputs, and a dense layer.

    Positions have learned embeddings. The mean takes the place of a class token, as in Beyer et
    al. 2022. Kernels and position embeddings are initialised truncated normal with standard
    deviation 0.02, and biases with zeros.

    Attributes:
      patch_size: edge of a patch in pixels; divides the sizes of the image.
      depth: number of blocks.
      width: of the representation of a patch.
      heads: number of attention heads; divides ``width``.
      mlp_ratio: width of each block's hidden layer, as a multiple of ``width``.
      dropout: share of each branch's outputs that are zeroed in training.
      num_outputs: number of outputs.
    """

    patch_size: int
    depth: int
    width: int
    heads: int
    mlp_ratio: int
    dropout: float
    num_outputs: int

    @property
    def layer_order(self) -> tuple[str | tuple[str, str], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        blocks = (f"TransformerBlock_{i}" for i in range(self.depth))
        return (("embedding", "positions"), *blocks, ("LayerNorm_0", "head"))

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Outputs [batch, num_outputs] of images [batch, height, width, channels].

        Signals [batch, length, channels] or [batch, length] are cut into patches of their length.

        Raises:
          ConfigError: ``patch_size`` does not divide a size of the image.
        """
        x = patches(with_channels(x), edge=self.patch_size)
        x = dense(self.width, name="embedding")(x)
        normal = nn.initializers.truncated_normal(KERNEL_STD)
        positions = self.param("positions", normal, x.shape[1:])
        x = nn.Dropout(self.dropout, deterministic=not train)(x + positions.astype(x.dtype))
        for _ in range(self.depth):
            x = TransformerBlock(self.heads, self.mlp_ratio, self.dropout)(x, train=train)
        return dense(self.num_outputs, name="head")(nn.LayerNorm()(x).mean(axis=1))


@register_model("vit")
@checked
def vit(
    *,
    patch_size: Count = 4,
    depth: Count = 6,
    width: Count = 128,
    heads: Count = 4,
    mlp_ratio: Count = 4,
    dropout: DropoutRate = 0.0,
    num_outputs: int,
) -> nn.Module:
    """Builds a ``ViT``.

    Raises:
      ConfigError: ``heads`` does not divide ``width``, or an argument is outside its bounds.
    """
    require_heads(width, heads)
    return ViT(patch_size, depth, width, heads, mlp_ratio, dropout, num_outputs)


def patches(x: jax.Array, *, edge: int) -> jax.Array:
    """[batch, ..., channels] → [batch, patches, entries of a patch], both in row-major order.

    Raises:
      ConfigError: ``edge`` does not divide a size of the image; its key is ``patch_size``.
    """
    sizes = x.shape[1:-1]
    if any(size % edge for size in sizes):
        shape = "×".join(map(str, sizes))
        problem = f"patches of {edge} do not cover inputs of {shape} exactly"
        raise ConfigError("patch_size", problem, "choose a divisor of each size")
    split = chain.from_iterable((size // edge, edge) for size in sizes)
    x = x.reshape(len(x), *split, x.shape[-1])
    axes = range(1, 1 + 2 * len(sizes))
    x = x.transpose(0, *axes[::2], *axes[1::2], x.ndim - 1)
    return x.reshape(len(x), -1, edge ** len(sizes) * x.shape[-1])
