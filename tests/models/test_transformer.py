"""The transformer predicts each token from earlier ones and has GPT-2's size."""

from functools import partial
from math import erf

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.registry import models

VOCABULARY = 11
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (2, 9)).astype(np.int32)


def small(**arguments):
    sizes = {"depth": 2, "width": 8, "heads": 2, "num_outputs": VOCABULARY}
    return models.build("transformer", sizes | arguments)


@pytest.fixture(scope="module")
def logits(drawn):
    """``logits(tokens)`` of a small transformer."""
    model = small()
    return jax.jit(partial(model.apply, drawn(model, TOKENS.shape, jnp.int32), train=False))


def test_the_number_of_parameters_is_that_of_gpt_2(parameter_count):
    sizes = {"depth": 12, "width": 768, "heads": 12, "tied_embeddings": True}
    count = parameter_count("transformer", (1, 64), jnp.int32, num_outputs=50_257, **sizes)
    # The small one has 124,439,808, of which 1024 * 768 are learned positions.
    assert count == 124_439_808 - 1024 * 768


@pytest.mark.parametrize("position", [0, 4, 8])
def test_a_changed_token_changes_no_earlier_output(position, logits):
    changed = TOKENS.copy()
    changed[:, position] = (changed[:, position] + 1) % VOCABULARY
    before, after = logits(TOKENS), logits(changed)
    assert before.shape == (2, 9, VOCABULARY)
    np.testing.assert_array_equal(after[:, :position], before[:, :position])
    assert np.all(np.any(after[:, position:] != before[:, position:], axis=-1))


def test_the_order_of_earlier_tokens_matters(logits):
    swapped = TOKENS.copy()
    swapped[:, :2] = [3, 5]
    other = swapped.copy()
    other[:, :2] = [5, 3]
    assert not np.allclose(logits(swapped)[:, -1], logits(other)[:, -1], atol=1e-4)


def test_tied_embeddings_take_the_place_of_the_last_layer(drawn):
    tied, untied = small(tied_embeddings=True, depth=1), small(depth=1)
    params = drawn(tied, TOKENS.shape, jnp.int32)["params"]
    embedding = params["embedding"]["embedding"]
    params = {**params, "head": {"kernel": embedding.T, "bias": jnp.zeros(VOCABULARY)}}
    found, expected = jax.jit(
        lambda params: [m.apply({"params": params}, TOKENS, train=False) for m in (tied, untied)]
    )(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_ends_of_branches_start_with_gpt_2s_smaller_kernels():
    """0.02 / sqrt(2 * depth), of a normal distribution that is cut off at two deviations."""
    model = small(width=64)
    params = jax.jit(partial(model.init, train=False))(jax.random.key(0), TOKENS)["params"]
    cut = (1 - 4 * np.exp(-2) / np.sqrt(2 * np.pi) / erf(2**0.5)) ** 0.5
    for block in (params["TransformerBlock_0"], params["TransformerBlock_1"]):
        for name, std in (
            ("attention_in", 0.02),
            ("attention_out", 0.02 / 2),
            ("mlp_in", 0.02),
            ("mlp_out", 0.02 / 2),
        ):
            assert np.std(block[name]["kernel"]) == pytest.approx(cut * std, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 8, 8, 1), jnp.float32), ((2, 8), jnp.float32), ((2, 8, 1), jnp.int32)]
)
def test_inputs_other_than_tokens_are_refused(shape, dtype, outputs):
    with pytest.raises(ConfigError, match=r"^name: takes tokens, not "):
        outputs("transformer", shape, dtype, num_outputs=3)


@pytest.mark.parametrize(
    ("key", "value"), [("heads", 3), ("heads", 128), ("mlp_ratio", 0), ("tied_embeddings", "yes")]
)
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        models.build("transformer", {"num_outputs": 3, key: value})
