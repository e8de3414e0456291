"""Samples tokens from a language model."""

from functools import partial

import jax
import jax.numpy as jnp

from runner.training.evaluation import Variables, compute_outputs
from runner.training.state import Static


@partial(jax.jit, static_argnames=("static", "count"))
def sample_tokens(
    static: Static, variables: Variables, prompt: jax.Array, key: jax.Array, *, count: int
) -> jax.Array:
    """``count`` tokens after a prompt, int32 [count], each drawn from the model's distribution.

    prompt: int32 [length], of the length that the model is trained on; the model always sees the
      last ``length`` tokens.
    """

    def draw(window: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = compute_outputs(static, variables, window[None])[0, -1]
        token = jax.random.categorical(jax.random.fold_in(key, step), logits).astype(window.dtype)
        return jnp.append(window[1:], token), token

    return jax.lax.scan(draw, prompt, jnp.arange(count))[1]
