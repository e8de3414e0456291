"""A model is fitted to the data and the objective; what cannot be one is refused."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner import load
from runner.cli.commands import configure
from runner.cli.sources import CONF
from runner.config import Choice
from runner.data.sources.digits import digits
from runner.errors import ConfigError
from runner.experiment.model import TrainIgnored, fit_model, takes_train
from runner.objectives import Targets
from runner.registry import objectives, register_model

OPTIONS = sorted(path.stem for path in (CONF / "model").iterdir())
IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 1), np.float32)


class WithoutTrain(nn.Module):
    """A model whose call has no argument ``train``."""

    num_outputs: int
    layer_order = ("Dense_0", "Dense_1")

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5)(x.reshape(len(x), -1)))
        self.variable("seen", "count", lambda: jnp.zeros(()))
        return nn.Dense(self.num_outputs)(x)


def fitted(model, example=IMAGE):
    """The fitted model of a choice, or of a factory."""
    if not isinstance(model, Choice):
        register_model("tried")(model)
        model = Choice("tried", "tried", {})
    targets = {"targets": Targets(num_classes=3)}
    return fit_model(model, example, objectives.build("classification", targets))


@pytest.mark.parametrize("option", [o for o in OPTIONS if o != "transformer"])
def test_every_option_is_a_model_for_images(option):
    assert fitted(configure(f"model={option}").model).params


def test_a_model_of_tokens_is_refused_for_images():
    choice = configure("model=transformer").model
    with pytest.raises(ConfigError, match=r"^model\.name: takes tokens, not float32 inputs of "):
        fitted(choice)


def test_a_module_without_train_is_called_without_it():
    plain = WithoutTrain(3)
    model = fitted(lambda *, num_outputs: WithoutTrain(num_outputs))
    assert model.variables == jax.eval_shape(plain.init, jax.random.key(0), IMAGE)
    assert model.module.layer_order == WithoutTrain.layer_order
    assert model.module == TrainIgnored(plain)
    random = np.random.default_rng(0)
    image, variables = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape).astype(np.float32), (IMAGE, model.variables)
    )

    @jax.jit
    def outputs(variables):
        calls = [partial(model.module.apply, train=train) for train in (False, True)]
        return [apply(variables, image) for apply in (plain.apply, *calls)]

    expected, *found = outputs(variables)
    for each in found:
        np.testing.assert_array_equal(each, expected)


@pytest.mark.slow
def test_a_module_without_train_is_trained_evaluated_and_loaded(run, summary):
    register_model("plain")(lambda *, num_outputs: WithoutTrain(num_outputs))
    code, folder = run("model=plain", "training.steps=300", "checkpoint.every=300")
    assert code == 0
    assert summary(folder)["metrics"]["test/accuracy"] > 0.8
    loaded, test = load(folder), digits().test
    right = loaded.predict(test.inputs).argmax(axis=1) == test.targets
    assert right.mean() == pytest.approx(summary(folder)["metrics"]["test/accuracy"])


def test_a_sequence_of_layers_is_a_model():
    model = fitted(
        lambda *, num_outputs: nn.Sequential((jnp.ravel, nn.Dense(3), lambda x: x[None]))
    )
    assert set(model.params) == {"layers_1"}


def test_arguments_that_take_train_are_recognised():
    class Named(WithoutTrain):
        def __call__(self, x, train=False): ...

    class Open(WithoutTrain):
        def __call__(self, x, **kwargs): ...

    assert takes_train(Named(3))
    assert takes_train(Open(3))
    assert not takes_train(WithoutTrain(3))


def test_an_nnx_module_is_refused_with_what_to_do():
    from flax import nnx

    with pytest.raises(ConfigError) as caught:
        fitted(lambda *, num_outputs: nnx.Linear(64, num_outputs, rngs=nnx.Rngs(0)))
    said = "model tried: is a Linear, a flax.nnx.Module; wrap it: return a flax.linen.Module"
    assert str(caught.value) == said
    assert caught.value.exit_code == 2
