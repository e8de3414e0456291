"""Dropout and running statistics change in training only, in every family."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.models.mlp import MLP
from runner.models.resnet import Layout, ResNet
from runner.models.wide_resnet import WideResNet
from runner.registry import models

IMAGES, TOKENS = ((2, 8, 8, 1), jnp.float32), ((2, 5), jnp.int32)
# Settings, inputs, and how many layers' outputs are dropped from.
FAMILIES = {
    "mlp": ({"hidden": [4, 4]}, IMAGES, 2),
    "cnn": ({"features": [4]}, IMAGES, 1),
    "wide_resnet": ({"depth": 10, "width": 1}, IMAGES, 3),
    "vit": ({"depth": 2, "width": 8}, IMAGES, 5),
    "transformer": ({"depth": 2, "width": 8}, TOKENS, 5),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_dropout_acts_in_training_only(name, random_draws):
    arguments, inputs, layers = FAMILIES[name]
    dropping = models.build(name, {**arguments, "dropout": 0.5, "num_outputs": 3})
    assert random_draws(dropping, *inputs, train=True) == layers
    assert random_draws(dropping, *inputs, train=False) == 0
    plain = models.build(name, {**arguments, "num_outputs": 3})
    assert random_draws(plain, *inputs, train=True) == 0


def test_dropout_zeroes_its_share_of_the_hidden_activations_and_scales_the_others():
    model = MLP(hidden=(1000,), num_outputs=1, dropout=0.25)
    kernels = {"kernel": np.ones((1, 1000), np.float32)}, {"kernel": np.ones((1000, 1), np.float32)}
    params = {
        "Dense_0": {**kernels[0], "bias": np.zeros(1000, np.float32)},
        "Dense_1": {**kernels[1], "bias": np.zeros(1, np.float32)},
    }
    apply = jax.jit(partial(model.apply, {"params": params}, train=True))
    (total,) = apply(np.ones((1, 1), np.float32), rngs={"dropout": jax.random.key(0)})[0]
    kept = total * 0.75  # each of the kept ones counts 1 / 0.75
    assert kept == pytest.approx(round(float(kept)), abs=1e-2)
    assert kept == pytest.approx(750, abs=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ResNet(Layout((3, 5), (1, 1), cifar=False, bottleneck=True), 2, bn_momentum=1.0),
        WideResNet(10, 1, 2, bn_momentum=1.0),
    ],
    ids=["resnet", "wide_resnet"],
)
def test_every_normalisation_keeps_the_share_of_its_statistics_that_is_set(model, drawn):
    """All of them: a momentum that were ignored would change some."""
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    variables = drawn(model, x.shape)
    apply = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    after = apply(variables, x)[1]["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, after, variables["batch_stats"])


@pytest.mark.parametrize("name", ["resnet", "wide_resnet"])
def test_the_settings_of_the_normalisations_reach_the_network(name):
    settings = {"bn_momentum": 0.8, "bn_epsilon": 0.25, "num_outputs": 3}
    model = models.build(name, settings)
    assert settings == {key: getattr(model, key) for key in settings}


@pytest.mark.parametrize(
    "model",
    [
        MLP(hidden=(3,), num_outputs=2, norm="batch"),
        ResNet(Layout((3,), (1,), cifar=True), num_outputs=2),
    ],
    ids=["mlp", "resnet"],
)
def test_running_statistics_change_in_training_only(model, drawn):
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
    variables = drawn(model, x.shape)
    before = variables["batch_stats"]

    @partial(jax.jit, static_argnames="train")
    def after(x, *, train):
        return model.apply(variables, x, train=train, mutable=["batch_stats"])[1]["batch_stats"]

    jax.tree.map(np.testing.assert_array_equal, after(x, train=False), before)
    trained = after(x, train=True)["BatchNorm_0"]
    if isinstance(model, MLP):
        dense = variables["params"]["Dense_0"]
        first = x.reshape(6, -1).astype(np.float64) @ dense["kernel"] + dense["bias"]
        # An update keeps nine tenths (Ioffe and Szegedy 2015; PyTorch's momentum of 0.1).
        for name, seen in (("mean", first.mean(0)), ("var", first.var(0))):
            expected = 0.9 * before["BatchNorm_0"][name] + 0.1 * seen
            np.testing.assert_allclose(trained[name], expected, rtol=1e-5, atol=1e-6)
    else:
        assert not np.allclose(trained["mean"], before["BatchNorm_0"]["mean"])
