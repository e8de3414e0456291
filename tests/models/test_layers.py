"""Pooling is what loops over the windows compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.models.cifar10_full import Cifar10Full
from runner.models.cnn import CNN
from runner.models.layers import halved, pooled_by_three
from runner.models.resnet import Layout, ResNet
from runner.models.transformer import Transformer
from runner.models.vit import ViT


@pytest.mark.parametrize(
    ("size", "start", "count"),
    # Caffe rounds up: 32 → 16 (cifar10_full); PyTorch's padding of 1: 112 → 56 (resnet).
    [(32, 0, 16), (7, 0, 3), (8, 0, 4), (2, 0, 1), (1, 0, 1), (112, 1, 56), (7, 1, 4), (1, 1, 1)],
)
def test_windows_of_three_with_stride_two_cover_every_entry(size, start, count):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    pooled = pooled_by_three(x.reshape(1, size, 1), jnp.maximum, start=start, fill=-np.inf)
    windows = [x[max(0, 2 * i - start) : 2 * i - start + 3] for i in range(count)]
    np.testing.assert_array_equal(pooled.ravel(), [window.max() for window in windows])


# Of a normal distribution that is cut off at two standard deviations, the share of its deviation.
CUT = 0.87962566
STEM = Layout((64,), (0,), cifar=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape", "path", "deviation"),
    [
        # He et al. 2015: 2 / inputs, or by fan out; LeCun et al. 1998: 1 / inputs.
        (CNN((40,), 300, 30), (1, 4, 4, 20), "Conv_0/kernel", (2 / (9 * 20)) ** 0.5),
        (CNN((40,), 300, 30), (1, 4, 4, 20), "Dense_0/kernel", (2 / (4 * 40)) ** 0.5),
        (CNN((40,), 300, 30), (1, 4, 4, 20), "Dense_1/kernel", (1 / 300) ** 0.5),
        (Cifar10Full(9), (1, 4, 4, 3), "Conv_1/kernel", (2 / (25 * 32)) ** 0.5),
        (ResNet(STEM, 9), (1, 8, 8, 3), "Conv_0/kernel", (2 / (49 * 64)) ** 0.5),
        # As in BERT, 0.02 before it is cut off.
        (ViT(1, 1, 64, 1, 1, 0.0, 9), (1, 20, 20, 3), "positions", 0.02 * CUT),
        (ViT(4, 1, 512, 1, 1, 0.0, 9), (1, 4, 4, 3), "embedding/kernel", 0.02 * CUT),
        (Transformer(1, 64, 1, 1, 0.0, True, 400), (1, 8), "embedding/embedding", 0.02 * CUT),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_parameters_start_with_the_deviation_of_their_source(model, shape, path, deviation):
    inputs = np.zeros(shape, np.int32 if isinstance(model, Transformer) else np.float32)

    @jax.jit
    def initial(key):  # XLA leaves out what does not enter the result
        leaf = model.init(key, inputs, train=False)["params"]
        for name in path.split("/"):
            leaf = leaf[name]
        return leaf

    assert np.std(initial(jax.random.key(0))) == pytest.approx(deviation, rel=0.04)


def test_each_axis_is_pooled():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    pooled = pooled_by_three(x, jnp.maximum, start=0, fill=-np.inf)
    assert pooled.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(pooled[:, 1, 2], x[:, 2:5, 4:7].max(axis=(1, 2)))


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 7, 3), (2, 1, 3), (2, 4, 5, 2, 3)])
def test_pairs_are_pooled_in_any_number_of_dimensions(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = x
    for axis in range(1, x.ndim - 1):
        if (size := expected.shape[axis]) > 1:
            starts = np.arange(0, size - 1, 2)
            first, second = (np.take(expected, starts + i, axis) for i in range(2))
            expected = np.maximum(first, second)
    np.testing.assert_array_equal(jax.jit(halved)(x), expected)
