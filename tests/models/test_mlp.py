"""The fully connected networks compute what their names say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.registry import models

IMAGES_BHWC = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).astype(np.float32)


def test_linear_is_one_affine_map(drawn):
    model = models.build("linear", {"num_outputs": 3})
    variables = drawn(model, IMAGES_BHWC.shape)
    assert set(variables) == {"params"}
    params = variables["params"]
    weight = np.asarray(params["Dense_0"]["kernel"])
    assert weight.shape == (24, 3)
    shifted = {"Dense_0": {"kernel": weight, "bias": np.array([1.0, 2.0, 3.0], np.float32)}}
    logits = model.apply({"params": shifted}, IMAGES_BHWC, train=True)
    expected = IMAGES_BHWC.reshape(5, 24).astype(np.float64) @ weight + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_mlp_is_relu_between_affine_maps(drawn):
    model = models.build("mlp", {"hidden": [7, 6], "num_outputs": 3})
    variables = drawn(model, IMAGES_BHWC.shape)
    assert set(variables) == {"params"}
    params = variables["params"]
    assert list(params) == ["Dense_0", "Dense_1", "Dense_2"]
    x = IMAGES_BHWC.reshape(5, 24).astype(np.float64)
    for name in ("Dense_0", "Dense_1"):
        x = np.maximum(x @ params[name]["kernel"] + params[name]["bias"], 0)
    expected = x @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]
    logits = jax.jit(partial(model.apply, train=True))(variables, IMAGES_BHWC)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def normalize(x, mean, variance, p):
    return (x - mean) / np.sqrt(variance + 1e-5) * p["scale"] + p["bias"]


@pytest.mark.parametrize(
    ("activation", "norm", "formula"),
    [
        ("relu", "batch", lambda x: np.maximum(x, 0)),
        ("tanh", "none", np.tanh),
        ("silu", "none", lambda x: x / (1 + np.exp(-x))),
        # Hendrycks and Gimpel 2016, the tanh approximation.
        (
            "gelu",
            "layer",
            lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        ),
    ],
)
def test_hidden_layers_are_normalised_then_activated(activation, norm, formula, drawn):
    settings = {"hidden": [7], "activation": activation, "norm": norm}
    model = models.build("mlp", settings | {"num_outputs": 3})
    variables = drawn(model, IMAGES_BHWC.shape)
    if norm != "none":  # variances near the 1e-5 that is added to them
        variables["params"]["Dense_0"] = jax.tree.map(
            lambda leaf: 1e-3 * leaf, variables["params"]["Dense_0"]
        )
    if norm == "batch":
        running = variables["batch_stats"]["BatchNorm_0"]
        running["var"], running["mean"] = 1e-5 * running["var"], 1e-3 * running["mean"]
    params = variables["params"]
    x = IMAGES_BHWC.reshape(5, 24).astype(np.float64)
    x = x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    if norm == "layer":
        moments = x.mean(1, keepdims=True), x.var(1, keepdims=True)
        x = normalize(x, *moments, params["LayerNorm_0"])
    elif norm == "batch":
        running = variables["batch_stats"]["BatchNorm_0"]
        x = normalize(x, running["mean"], running["var"], params["BatchNorm_0"])
    expected = formula(x) @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    logits = jax.jit(partial(model.apply, train=False))(variables, IMAGES_BHWC)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation", "elu"), ("norm", None), ("norm", "group"), ("dropout", 1.0), ("dropout", -0.1)],
)
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        models.build("mlp", {"num_outputs": 3, key: value})


def test_hidden_layers_keep_the_scale_of_their_input():
    # He et al. 2015: a weight variance of 2 / inputs keeps the mean square through a ReLU.
    model = models.build("mlp", {"hidden": [4000], "num_outputs": 2})
    initial = jax.jit(lambda key: model.init(key, IMAGES_BHWC, train=False)["params"]["Dense_0"])
    kernel = initial(jax.random.key(0))
    assert np.var(kernel["kernel"]) == pytest.approx(2 / 24, rel=0.02)
    assert not np.any(kernel["bias"])


def test_equal_arguments_give_equal_hashable_modules():
    one, other = (models.build("mlp", {"hidden": [8, 8], "num_outputs": 3}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != models.build("mlp", {"hidden": [8], "num_outputs": 3})


@pytest.mark.parametrize("hidden", [[], [8, 0], [-1], [True], [1.5], ["8"]])
def test_invalid_widths_are_refused(hidden):
    with pytest.raises(ConfigError, match=r"^model\.hidden(\[\d\])?: "):
        models.build("mlp", {"hidden": hidden, "num_outputs": 3})
