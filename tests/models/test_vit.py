"""The vision transformer cuts images into patches and has the paper's size."""

from functools import partial

import jax
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.models.attention import TransformerBlock
from runner.models.vit import patches
from runner.registry import models


def test_the_number_of_parameters_is_that_of_vit_b_16(parameter_count):
    base = {"patch_size": 16, "depth": 12, "width": 768, "heads": 12, "num_outputs": 1000}
    # torchvision's vit_b_16 has 86,567,656 with a class token and the position of the token.
    assert parameter_count("vit", (1, 224, 224, 3), **base) == 86_567_656 - 2 * 768


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 8, 4, 3), (2, 40), (2, 40, 3)])
def test_images_and_signals_go_through(shape, outputs):
    assert outputs("vit", shape, depth=1, num_outputs=3) == (2, 3)


def test_patches_are_contiguous_squares_in_reading_order():
    image = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    cut = patches(image, edge=2)
    assert cut.shape == (2, 2 * 3, 2 * 2 * 3)
    np.testing.assert_array_equal(cut[:, 0], image[:, :2, :2].reshape(2, -1))
    np.testing.assert_array_equal(cut[:, 1], image[:, :2, 2:4].reshape(2, -1))
    np.testing.assert_array_equal(cut[:, 3], image[:, 2:, :2].reshape(2, -1))


def test_outputs_are_the_mean_over_normalised_patches(drawn):
    """Dosovitskiy et al. 2021, equations 1 to 4, with the mean in place of a class token."""
    image = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    sizes = {"patch_size": 2, "depth": 1, "width": 8, "heads": 2, "mlp_ratio": 3}
    model = models.build("vit", sizes | {"num_outputs": 5})
    variables = drawn(model, image.shape)
    params = jax.tree.map(np.asarray, variables["params"])
    block = TransformerBlock(heads=2, mlp_ratio=3, dropout=0.0)
    x = np.asarray(patches(image, edge=2)) @ params["embedding"]["kernel"]
    x = x + params["embedding"]["bias"] + params["positions"]
    x = jax.jit(partial(block.apply, train=False))({"params": params["TransformerBlock_0"]}, x)
    x = np.asarray(x, np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = (x * params["LayerNorm_0"]["scale"] + params["LayerNorm_0"]["bias"]).mean(1)
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    ours = jax.jit(partial(model.apply, train=False))(variables, image)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_patches_that_do_not_cover_the_image_are_refused(outputs):
    with pytest.raises(ConfigError, match=r"^patch_size: patches of 3 .* 28×28 .*divisor"):
        outputs("vit", (2, 28, 28, 1), patch_size=3, num_outputs=3)


@pytest.mark.parametrize(
    ("key", "value"), [("heads", 3), ("depth", 0), ("patch_size", 0), ("dropout", 1.0)]
)
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        models.build("vit", {"num_outputs": 3, key: value})
