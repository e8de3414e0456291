"""Self-attention and the pre-norm block, which ``vit`` and ``transformer`` share."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from runner.errors import ConfigError

# Of kernels and embeddings, before truncation at two standard deviations, as in BERT.
KERNEL_STD = 0.02
ROTARY_BASE = 10_000.0


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each after layer normalisation and added to its input.

    Attributes:
      heads: number of attention heads; divides the width of the input.
      mlp_ratio: width of the perceptron's hidden layer, as a multiple of the input's.
      dropout: share of each branch's outputs that are zeroed in training.
      causal: whether a position attends to itself and earlier positions only, and queries and
        keys are rotated by their position.
      branch_std: standard deviation of the kernels at the end of the two branches.
    """

    heads: int
    mlp_ratio: int
    dropout: float
    causal: bool = False
    branch_std: float = KERNEL_STD

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[batch, length, width] → [batch, length, width]."""
        width = x.shape[-1]
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = self._attention(nn.LayerNorm()(x))
        x = x + drop(dense(width, std=self.branch_std, name="attention_out")(y))
        y = nn.gelu(dense(self.mlp_ratio * width, name="mlp_in")(nn.LayerNorm()(x)))
        return x + drop(dense(width, std=self.branch_std, name="mlp_out")(y))

    def _attention(self, x: jax.Array) -> jax.Array:
        """The values that each position attends to, [batch, length, width]."""
        projected = dense(3 * x.shape[-1], name="attention_in")(x)
        heads = projected.reshape(*x.shape[:2], 3, self.heads, -1)
        query, key, value = (heads[:, :, i] for i in range(3))
        if self.causal:
            query, key = rotated(query), rotated(key)
        attended = jax.nn.dot_product_attention(query, key, value, is_causal=self.causal)
        return attended.reshape(x.shape)


def dense(width: int, *, std: float = KERNEL_STD, name: str | None = None) -> nn.Dense:
    """A dense layer with a truncated normal kernel and a bias of zeros."""
    return nn.Dense(width, kernel_init=nn.initializers.truncated_normal(std), name=name)


def rotated(x: jax.Array) -> jax.Array:
    """Rotary position embedding of [batch, length, heads, 2n] (Su et al. 2021).

    At position ``p``, the pair of entries ``i`` and ``i + n`` is rotated by
    ``p * 10000**(-i / n)`` radians, so that products of queries and keys depend on distances.
    """
    half = x.shape[-1] // 2
    rates = ROTARY_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None] * rates
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def require_heads(width: int, heads: int, *, multiple: int = 1) -> None:
    """Raises ConfigError unless each head gets the same width, a multiple of ``multiple``."""
    if width % (heads * multiple):
        problem = f"{heads} heads cannot divide a width of {width} into equal parts"
        problem += "" if multiple == 1 else f" that are multiples of {multiple}"
        raise ConfigError("heads", problem, f"choose a width divisible by {heads * multiple}")
