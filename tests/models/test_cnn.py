"""The convolutional network takes images of any size and pools as it says."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.registry import models


def images(height, width, channels=1):
    random = np.random.default_rng(0)
    return jnp.asarray(random.normal(size=(5, height, width, channels)), jnp.float32)


@pytest.mark.parametrize(
    ("size", "flat"), [((28, 28), 7 * 7 * 6), ((8, 8), 2 * 2 * 6), ((1, 1), 6), ((7, 1), 6)]
)
def test_any_image_size_goes_through(size, flat):
    model = models.build("cnn", {"features": [4, 6], "dense": 9, "num_outputs": 3})
    key = jax.random.key(0)
    variables = jax.eval_shape(partial(model.init, train=False), key, images(*size))
    assert {name: p["kernel"].shape for name, p in variables["params"].items()} == {
        "Conv_0": (3, 3, 1, 4),
        "Conv_1": (3, 3, 4, 6),
        "Dense_0": (flat, 9),
        "Dense_1": (9, 3),
    }
    logits = jax.eval_shape(partial(model.apply, train=True), variables, images(*size))
    assert (logits.shape, logits.dtype) == ((5, 3), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_logits_and_gradients_are_those_of_flaxs_own_pooling(size):
    model = models.build("cnn", {"features": [4, 6], "dense": 9, "num_outputs": 3})
    x = images(*size, channels=2)
    # Drawn by numpy, as XLA takes seconds to compile jax's random numbers of these shapes.
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(1), x)["params"]
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.2, p.shape), p.dtype), shapes)

    def ours(params):
        return model.apply({"params": params}, x, train=True)

    def reference(params):
        y = x
        for name, width in (("Conv_0", 4), ("Conv_1", 6)):
            y = nn.relu(nn.Conv(width, (3, 3)).apply({"params": params[name]}, y))
            y = nn.max_pool(y, (2, 2), strides=(2, 2))
        y = nn.relu(nn.Dense(9).apply({"params": params["Dense_0"]}, y.reshape(5, -1)))
        return nn.Dense(3).apply({"params": params["Dense_1"]}, y)

    def gradient(network):
        return jax.jit(jax.grad(lambda params: (network(params) ** 2).sum()))(params)

    logits = [jax.jit(network)(params) for network in (ours, reference)]
    np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
    for one, other in zip(
        jax.tree.leaves(gradient(ours)), jax.tree.leaves(gradient(reference)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_signals_are_convolved_along_their_length(drawn):
    model = models.build("cnn", {"features": [2], "dense": 4, "num_outputs": 3})
    signals = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    variables = drawn(model, signals.shape)
    params = variables["params"]
    kernel = np.asarray(params["Conv_0"]["kernel"], np.float64)
    assert kernel.shape == (3, 1, 2)
    padded = np.pad(signals.astype(np.float64), [(0, 0), (1, 1)])
    windows = np.stack([padded[:, i : i + 9] for i in range(3)], axis=-1)
    x = np.maximum(windows @ kernel[:, 0] + params["Conv_0"]["bias"], 0)
    x = np.maximum(x[:, 0:8:2], x[:, 1:8:2]).reshape(5, -1)
    x = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    expected = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    apply = jax.jit(partial(model.apply, train=False))
    np.testing.assert_allclose(apply(variables, signals), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(apply(variables, signals[..., None]), apply(variables, signals))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_each_convolution_is_normalised(norm, outputs, drawn):
    assert outputs("cnn", (5, 8, 8, 1), features=[4, 6], norm=norm, num_outputs=3) == (5, 3)
    model = models.build("cnn", {"features": [4, 6], "norm": norm, "num_outputs": 3})
    name = {"batch": "BatchNorm", "layer": "LayerNorm"}[norm]
    assert model.layer_order[:2] == (("Conv_0", f"{name}_0"), ("Conv_1", f"{name}_1"))
    scales = [drawn(model, (5, 8, 8, 1))["params"][f"{name}_{i}"]["scale"] for i in range(2)]
    assert [scale.shape for scale in scales] == [(4,), (6,)]


def test_equal_arguments_give_equal_hashable_modules():
    one, other = (
        models.build("cnn", {"features": [4], "dense": 9, "num_outputs": 3}) for _ in range(2)
    )
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("key", "value"), [("features", []), ("features", [4, 0]), ("dense", 0), ("dense", True)]
)
def test_invalid_widths_are_refused(key, value):
    arguments = {"features": [4], "dense": 9, "num_outputs": 3} | {key: value}
    with pytest.raises(ConfigError, match=rf"^model\.{key}(\[\d\])?: "):
        models.build("cnn", arguments)
