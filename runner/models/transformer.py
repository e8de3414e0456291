"""A decoder-only transformer for sequences of tokens (Vaswani et al. 2017; GPT-2)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from runner.config.signature import checked
from runner.config.types import Count, DropoutRate
from runner.errors import ConfigError
from runner.models.attention import KERNEL_STD, TransformerBlock, dense, require_heads
from runner.registry import register_model


class Transformer(nn.Module):
    """Embeddings of tokens, causal pre-norm blocks, layer normalisation, and logits.

    Positions enter by rotary embeddings (Su et al. 2021), so that sequences of any length can
    follow. Kernels and embeddings are initialised truncated normal with standard deviation 0.02,
    divided by ``sqrt(2 * depth)`` at the end of each branch as in GPT-2, and biases with zeros.

    Attributes:
      depth: number of blocks.
      width: of the representation of a token.
      heads: number of attention heads; ``width`` is an even multiple of it.
      mlp_ratio: width of each block's hidden layer, as a multiple of ``width``.
      dropout: share of the embeddings and of each branch's outputs that are zeroed in training.
      tied_embeddings: computes the logits with the embeddings of the tokens (Press and Wolf 2017)
        instead of a dense layer.
      num_outputs: size of the vocabulary, and number of outputs.
    """

    depth: int
    width: int
    heads: int
    mlp_ratio: int
    dropout: float
    tied_embeddings: bool
    num_outputs: int

    @property
    def layer_order(self) -> tuple[str | tuple[str, ...], ...]:
        """Prefixes of the parameters' paths, layer by layer from input to output."""
        blocks = (f"TransformerBlock_{i}" for i in range(self.depth))
        last = ("LayerNorm_0",) if self.tied_embeddings else ("LayerNorm_0", "head")
        return ("embedding", *blocks, last)

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool) -> jax.Array:
        """Logits [batch, length, num_outputs] of the tokens after each of ``tokens``.

        Args:
          tokens: integers [batch, length] below ``num_outputs``.

        Raises:
          ConfigError: the inputs are something else.
        """
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            problem = f"takes tokens, not {tokens.dtype} inputs of shape {tokens.shape[1:]}"
            raise ConfigError("name", problem, "choose a dataset of text, or another model")
        normal = nn.initializers.truncated_normal(KERNEL_STD)
        embed = nn.Embed(self.num_outputs, self.width, embedding_init=normal, name="embedding")
        x = nn.Dropout(self.dropout, deterministic=not train)(embed(tokens))
        for _ in range(self.depth):
            x = TransformerBlock(
                self.heads,
                self.mlp_ratio,
                self.dropout,
                causal=True,
                branch_std=KERNEL_STD / math.sqrt(2 * self.depth),
            )(x, train=train)
        x = nn.LayerNorm()(x)
        return embed.attend(x) if self.tied_embeddings else dense(self.num_outputs, name="head")(x)


@register_model("transformer")
@checked
def transformer(
    *,
    depth: Count = 4,
    width: Count = 128,
    heads: Count = 4,
    mlp_ratio: Count = 4,
    dropout: DropoutRate = 0.0,
    tied_embeddings: bool = False,
    num_outputs: int,
) -> nn.Module:
    """Builds a ``Transformer``.

    Raises:
      ConfigError: ``width`` is not an even multiple of ``heads``, or an argument is outside its
        bounds.
    """
    require_heads(width, heads, multiple=2)
    return Transformer(depth, width, heads, mlp_ratio, dropout, tied_embeddings, num_outputs)
