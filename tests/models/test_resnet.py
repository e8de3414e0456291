"""Residual networks have the parameters of the papers and compute what PyTorch does."""

from functools import partial

import jax
import numpy as np
import pytest
from sampling import slow_except

from runner.errors import ConfigError
from runner.models.resnet import Layout, ResNet
from runner.registry import models

# He et al. 2016, table 6: millions of parameters on CIFAR-10.
CIFAR = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
# torchvision's resnet18, resnet34 and resnet50, 1000 classes.
IMAGENET = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032}

LAYOUTS = {
    "cifar": Layout((3, 5), (1, 2), cifar=True),
    "basic": Layout((3, 5), (1, 2), cifar=False),
    "bottleneck": Layout((3, 5), (1, 1), cifar=False, bottleneck=True),
}


@pytest.mark.parametrize("depth", slow_except({20, 56}, CIFAR))
def test_the_cifar_networks_have_the_papers_number_of_parameters(depth, parameter_count):
    count = parameter_count("resnet", (1, 32, 32, 3), depth=depth, num_outputs=10)
    assert round(count / 1e6, 2 if depth < 110 else 1) == CIFAR[depth]


@pytest.mark.parametrize("depth", slow_except({18, 50}, IMAGENET))
def test_the_imagenet_networks_have_torchvisions_number_of_parameters(depth, parameter_count):
    count = parameter_count("resnet", (1, 224, 224, 3), depth=depth, num_outputs=1000)
    assert count == IMAGENET[depth]


@pytest.mark.parametrize(
    ("depth", "shape"), [(18, (2, 8, 8, 1)), (18, (2, 40, 3)), (20, (2, 1, 1, 2)), (20, (2, 40))]
)
def test_images_and_signals_of_any_size_go_through(depth, shape, outputs):
    assert outputs("resnet", shape, depth=depth, num_outputs=3) == (2, 3)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "kind", ["cifar", pytest.param("basic", marks=pytest.mark.slow), "bottleneck"]
)
def test_outputs_are_pytorchs(kind, drawn):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 11, 12, 3)).astype(np.float32)
    model = ResNet(LAYOUTS[kind], num_outputs=4, bn_epsilon=0.01)
    variables = drawn(model, x.shape)
    ours = jax.jit(partial(model.apply, train=False))(variables, x)
    as_torch = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables)
    expected = reference(torch, LAYOUTS[kind], torch.tensor(x).permute(0, 3, 1, 2), **as_torch)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3)


def reference(torch, layout, x, *, params, batch_stats):
    """The network in PyTorch, NCHW."""
    F = torch.nn.functional

    def conv(y, p, i, stride=1):
        kernel = p[f"Conv_{i}"]["kernel"].permute(3, 2, 0, 1)
        return F.conv2d(y, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(y, p, s, i):
        p, s = p[f"BatchNorm_{i}"], s[f"BatchNorm_{i}"]
        return F.batch_norm(y, s["mean"], s["var"], p["scale"], p["bias"], eps=0.01)

    def block(y, p, s, stride):
        last, strides = (2, [1, stride, 1]) if layout.bottleneck else (1, [stride, 1])
        out = y
        for i, each in enumerate(strides):
            out = norm(conv(out, p, i, each), p, s, i)
            out = F.relu(out) if i < last else out
        if y.shape != out.shape:
            if layout.cifar:
                y = F.pad(y[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, out.shape[1] - y.shape[1]))
            else:
                y = norm(conv(y, p, last + 1, stride), p, s, last + 1)
        return F.relu(y + out)

    y = F.relu(norm(conv(x, params, 0, 1 if layout.cifar else 2), params, batch_stats, 0))
    if not layout.cifar:
        y = F.max_pool2d(y, 3, 2, padding=1)
    strides = [2 if s and not i else 1 for s, n in enumerate(layout.blocks) for i in range(n)]
    for i, stride in enumerate(strides):
        y = block(y, params[f"ResidualBlock_{i}"], batch_stats[f"ResidualBlock_{i}"], stride)
    return y.mean((2, 3)) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]


@pytest.mark.parametrize(
    ("depth", "blocks"),
    # He et al. 2016: table 1, and 6n + 2 layers on CIFAR-10.
    [(18, 8), (34, 16), (50, 16), (20, 9), (32, 15), (44, 21), (56, 27), (110, 54)],
)
def test_each_depth_has_the_papers_blocks(depth, blocks):
    model = models.build("resnet", {"depth": depth, "num_outputs": 3})
    order = [("Conv_0", "BatchNorm_0"), *(f"ResidualBlock_{i}" for i in range(blocks)), "Dense_0"]
    assert model.layer_order == tuple(order)


@pytest.mark.parametrize("zero_init", [False, True])
def test_zero_init_starts_the_last_scale_of_each_block_at_0(zero_init):
    model = models.build("resnet", {"depth": 20, "zero_init": zero_init, "num_outputs": 3})

    @jax.jit
    def scales(key):
        params = model.init(key, np.ones((1, 4, 4, 1), np.float32), train=False)["params"]
        blocks = [params["ResidualBlock_0"], params["ResidualBlock_8"]]
        return [block[f"BatchNorm_{i}"]["scale"] for block in blocks for i in range(2)]

    starts = [float(scale[0]) for scale in scales(jax.random.key(0))]
    assert starts == [1, 1 - zero_init] * 2


@pytest.mark.slow
def test_convolutions_start_he_normal_and_zero_init_starts_blocks_as_identities():
    model = ResNet(Layout((40,), (1,), cifar=True), num_outputs=3, zero_init=True)

    @jax.jit
    def initial(key):
        params = model.init(key, np.ones((1, 4, 4, 20), np.float32), train=False)["params"]
        block = params["ResidualBlock_0"]
        scales = [block[f"BatchNorm_{i}"]["scale"] for i in range(2)]
        return params["Conv_0"]["kernel"], scales

    kernel, scales = initial(jax.random.key(0))
    # He et al. 2015, equation 14: a variance of 2 / (positions of the kernel * channels out).
    assert np.var(kernel) == pytest.approx(2 / (9 * 40), rel=0.05)
    assert np.all(scales[0] == 1)
    assert not np.any(scales[1])


@pytest.mark.parametrize(
    ("key", "value"),
    [("depth", 21), ("depth", "20"), ("zero_init", 1), ("bn_momentum", 1.0), ("bn_epsilon", 0.0)],
)
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        models.build("resnet", {"num_outputs": 3, key: value})
