"""The transformer block computes the formulas of the papers."""

import math
from functools import partial

import jax
import numpy as np
import pytest

from runner.models.attention import TransformerBlock, dense, rotated

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


def layer_norm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * p["scale"] + p["bias"]


def affine(x, p):
    return x @ p["kernel"] + p["bias"]


def gelu(x):
    """Hendrycks and Gimpel 2016, the tanh approximation."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def turned(x):
    """Su et al. 2021, equation 34 in complex numbers; [length, n] with pairs n / 2 apart."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-2 * np.arange(half) / (2 * half))
    pairs = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * np.arange(len(x))[:, None] * rates)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def attention(x, p, *, heads, causal):
    """Vaswani et al. 2017, equation 1, of one example [length, width]."""
    size = x.shape[-1] // heads
    parts = [part.reshape(-1, heads, size) for part in np.split(affine(x, p), 3, axis=-1)]
    out = []
    for head in range(heads):
        query, key, value = (part[:, head] for part in parts)
        if causal:
            query, key = turned(query), turned(key)
        scores = query @ key.T / math.sqrt(size)
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out.append(weights / weights.sum(-1, keepdims=True) @ value)
    return np.concatenate(out, axis=-1)


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_adds_attention_and_perceptron_after_normalisation(causal, drawn):
    block = TransformerBlock(heads=2, mlp_ratio=3, dropout=0.0, causal=causal)
    variables = drawn(block, X.shape)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    assert p["mlp_in"]["kernel"].shape == (8, 24)
    expected = []
    for x in X.astype(np.float64):
        y = layer_norm(x, p["LayerNorm_0"])
        x = x + affine(attention(y, p["attention_in"], heads=2, causal=causal), p["attention_out"])
        y = gelu(affine(layer_norm(x, p["LayerNorm_1"]), p["mlp_in"]))
        expected.append(x + affine(y, p["mlp_out"]))
    ours = jax.jit(partial(block.apply, train=False))(variables, X)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_products_of_rotated_vectors_depend_on_their_distance():
    query, key = np.random.default_rng(1).normal(size=(2, 1, 1, 1, 6)).astype(np.float32)
    queries, keys = (rotated(np.repeat(x, 40, axis=1))[0, :, 0] for x in (query, key))
    products = np.asarray(queries @ keys.T)
    for distance in (0, 1, 7):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_kernels_start_truncated_normal_and_biases_at_zero():
    params = dense(500, std=0.02).init(jax.random.key(0), np.ones((1, 200), np.float32))["params"]
    # A normal distribution cut off at two standard deviations has 0.8796 of its deviation left.
    assert np.std(params["kernel"]) == pytest.approx(0.02 * 0.8796, rel=0.01)
    assert np.abs(params["kernel"]).max() <= 0.04
    assert not np.any(params["bias"])
