"""Sampled tokens follow the model's distribution and its own earlier tokens."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from runner.optimizers.base import Optimizer
from runner.training.sampling import sample_tokens
from runner.training.state import Static

TOKENS = 7


class Successor(nn.Module):
    """Expects each token plus one, or with ``spread`` one or two, equally."""

    spread: bool = False

    @nn.compact
    def __call__(self, tokens, *, train):
        expected = jax.nn.one_hot((tokens + 1) % TOKENS, TOKENS)
        if self.spread:
            expected += jax.nn.one_hot((tokens + 2) % TOKENS, TOKENS)
        return jnp.log(expected + 1e-30)


def sampled(model, count, seed=0):
    static = Static(model, Optimizer("sgd", static=(), momentum_name=None))
    prompt = jnp.array([3, 0, 5], jnp.int32)
    key = jax.random.key(seed)
    return np.asarray(sample_tokens(static, {"params": {}}, prompt, key, count=count))


def test_each_token_follows_from_those_before():
    assert sampled(Successor(), 10).tolist() == [6, 0, 1, 2, 3, 4, 5, 6, 0, 1]


class Total(nn.Module):
    """Expects the sum of all tokens that it sees, modulo the number of tokens."""

    @nn.compact
    def __call__(self, tokens, *, train):
        expected = jax.nn.one_hot(tokens.sum(-1, keepdims=True) % TOKENS, TOKENS)
        return jnp.log(jnp.repeat(expected, tokens.shape[1], 1) + 1e-30)


def test_the_model_sees_the_last_tokens_as_many_as_the_prompt_has():
    """Of 3, 0, 5 follow 8 = 1 (mod 7), then 0 + 5 + 1 = 6, then 5 + 1 + 6 = 12 = 5, ..."""
    assert sampled(Total(), 6).tolist() == [1, 6, 5, 5, 2, 5]


def test_tokens_are_drawn_from_the_distribution():
    tokens = sampled(Successor(spread=True), 600)
    steps = np.diff(tokens) % TOKENS
    assert set(steps) == {1, 2}
    assert 240 <= (steps == 1).sum() <= 360  # 300 expected, five standard deviations are 61
    assert tokens.tolist() != sampled(Successor(spread=True), 600, seed=1).tolist()
