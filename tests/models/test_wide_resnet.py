"""Wide residual networks have the parameters of the paper and compute what PyTorch does."""

from functools import partial

import jax
import numpy as np
import pytest
from sampling import slow_except

from runner.errors import ConfigError
from runner.models.wide_resnet import WideBlock
from runner.registry import models

# Zagoruyko and Komodakis 2016, table 4: millions of parameters on CIFAR-10.
MILLIONS = {(28, 10): 36.5, (16, 8): 11.0, (40, 4): 8.9}


@pytest.mark.parametrize("size", slow_except([(28, 10)], MILLIONS), ids=str)
def test_the_number_of_parameters_is_the_papers(size, parameter_count):
    depth, width = size
    arguments = {"depth": depth, "width": width, "num_outputs": 10}
    count = parameter_count("wide_resnet", (1, 32, 32, 3), **arguments)
    assert round(count / 1e6, 1) == MILLIONS[size]


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 1, 1, 2), (2, 40, 3)])
def test_images_and_signals_of_any_size_go_through(shape, outputs):
    assert outputs("wide_resnet", shape, depth=10, width=1, num_outputs=3) == (2, 3)


@pytest.mark.oracle
@pytest.mark.parametrize(("channels", "stride"), [(5, 2), (3, 1)], ids=["projected", "identity"])
def test_a_block_computes_what_pytorch_does(channels, stride, drawn):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    block = WideBlock(channels, stride, dropout=0.5, bn_momentum=0.9, bn_epsilon=0.01)
    variables = drawn(block, x.shape)
    ours = jax.jit(partial(block.apply, train=False))(variables, x)
    as_torch = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables)
    p, s = as_torch["params"], as_torch["batch_stats"]

    def activated(y, name):
        stats, own = s[name], p[name]
        y = F.batch_norm(y, stats["mean"], stats["var"], own["scale"], own["bias"], eps=0.01)
        return F.relu(y)

    def conv(y, name, stride=1):
        kernel = p[name]["kernel"].permute(3, 2, 0, 1)
        return F.conv2d(y, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    first = torch.tensor(x).permute(0, 3, 1, 2)
    y = activated(first, "BatchNorm_0")
    shortcut = conv(y, "Conv_2", stride) if channels != 3 else first
    expected = shortcut + conv(activated(conv(y, "Conv_0", stride), "BatchNorm_1"), "Conv_1")
    np.testing.assert_allclose(ours, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


def blocks_and_outputs(model, variables, x):
    """The outputs of the blocks, in order, and of the whole network."""
    keep = {"capture_intermediates": True, "mutable": ["intermediates"]}
    outputs, state = model.apply(variables, x, train=False, **keep)
    kept = state["intermediates"]
    return [kept[f"WideBlock_{i}"]["__call__"][0] for i in range(model.depth // 2 - 2)], outputs


def test_the_second_and_third_stage_halve_the_image_in_their_first_block():
    """Zagoruyko and Komodakis 2016, table 1, for two blocks in each stage."""
    model = models.build("wide_resnet", {"depth": 16, "width": 2, "num_outputs": 4})
    x = jax.ShapeDtypeStruct((2, 8, 4, 3), np.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    blocks, _ = jax.eval_shape(partial(blocks_and_outputs, model), variables, x)
    stages = [(2, 8, 4, 32), (2, 4, 2, 64), (2, 2, 1, 128)]
    assert [block.shape for block in blocks] == [shape for shape in stages for _ in range(2)]


def test_outputs_are_of_the_mean_after_a_last_normalisation(drawn):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    settings = {"depth": 10, "width": 1, "num_outputs": 4, "bn_epsilon": 0.5}
    model = models.build("wide_resnet", settings)
    variables = drawn(model, x.shape)
    (*_, y), ours = jax.jit(partial(blocks_and_outputs, model))(variables, x)
    p, s = variables["params"]["BatchNorm_0"], variables["batch_stats"]["BatchNorm_0"]
    y = (np.asarray(y, np.float64) - s["mean"]) / np.sqrt(s["var"] + 0.5) * p["scale"] + p["bias"]
    y, p = np.maximum(y, 0).mean(axis=(1, 2)), variables["params"]["Dense_0"]
    np.testing.assert_allclose(ours, y @ p["kernel"] + p["bias"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [10, 16, 22, 28, 40])
def test_depths_are_6n_and_4(depth):
    model = models.build("wide_resnet", {"depth": depth, "num_outputs": 3})
    stages = 3 * (depth - 4) // 6
    assert model.layer_order[-2:] == (f"WideBlock_{stages - 1}", ("BatchNorm_0", "Dense_0"))


@pytest.mark.parametrize(("key", "value"), [("depth", 18), ("width", 0), ("dropout", 1.0)])
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        models.build("wide_resnet", {"num_outputs": 3, key: value})
