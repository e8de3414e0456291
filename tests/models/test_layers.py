"""Pooling is what loops over the windows compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.models.layers import halved, pooled_by_three


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
