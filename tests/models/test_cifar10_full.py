"""``cifar10_full`` has the layers of Caffe's network."""

from functools import partial

import jax
import numpy as np
import pytest

from runner.models.cifar10_full import Cifar10Full


def test_parameters_are_caffes(parameter_count):
    # 5·5·3·32 + 32, 5·5·32·32 + 32, 5·5·32·64 + 64, and 64·4·4·10 + 10.
    caffe = 2_432 + 25_632 + 51_264 + 10_250
    assert parameter_count("cifar10_full", (1, 32, 32, 3), num_outputs=10) == caffe


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 1, 1, 1), (2, 40), (2, 40, 3)])
def test_images_and_signals_of_any_size_go_through(shape, outputs):
    assert outputs("cifar10_full", shape, num_outputs=3) == (2, 3)


@pytest.mark.oracle
def test_outputs_are_pytorchs(drawn):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = np.random.default_rng(0).normal(size=(2, 12, 10, 3)).astype(np.float32)
    model = Cifar10Full(num_outputs=4)
    variables = drawn(model, x.shape)
    params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["params"])

    def conv(y, name):
        kernel, bias = params[name]["kernel"].permute(3, 2, 0, 1), params[name]["bias"]
        return F.conv2d(y, kernel, bias, padding=2)

    def average(y):
        return F.avg_pool2d(y, 3, 2, ceil_mode=True)

    y = F.relu(
        F.max_pool2d(conv(torch.tensor(x).permute(0, 3, 1, 2), "Conv_0"), 3, 2, ceil_mode=True)
    )
    y = average(F.relu(conv(y, "Conv_1")))
    y = average(F.relu(conv(y, "Conv_2"))).permute(0, 2, 3, 1).reshape(2, -1)
    expected = y @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    ours = jax.jit(partial(model.apply, train=False))(variables, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3)
