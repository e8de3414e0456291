"""Losses against PyTorch, metrics against their definitions in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.objectives import Targets
from runner.objectives.regression import Regression

RANDOM = np.random.default_rng(0)
VALUES = (1000 + 20 * RANDOM.normal(size=(9, 2))).astype(np.float32)
OUTPUTS = RANDOM.normal(size=(9, 2)).astype(np.float32)
MEAN, STD = (1001.0, 998.0), (19.0, 22.0)
VALID = np.arange(9) < 7


def objective(**settings):
    return Regression(targets=Targets((2,), mean=MEAN, std=STD), **settings)


def metrics(ours, outputs, values):
    found = ours.metrics(ours.sums(jnp.asarray(outputs), jnp.asarray(values), jnp.asarray(VALID)))
    return {name: float(value) for name, value in found.items()}


def test_metrics_are_in_the_units_of_the_data_and_without_the_padding():
    found = metrics(objective(), OUTPUTS, VALUES)
    predicted = OUTPUTS.astype(np.float64) * STD + MEAN
    errors = (predicted - VALUES)[VALID]
    around = VALUES[VALID].astype(np.float64)
    r2 = 1 - (errors**2).sum(0) / ((around - around.mean(0)) ** 2).sum(0)
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert found["r2"] == pytest.approx(r2.mean(), rel=1e-4)
    assert found["loss"] == pytest.approx(((errors / STD) ** 2).mean(), rel=1e-5)
    np.testing.assert_allclose(objective().predictions(OUTPUTS), predicted, rtol=1e-6)


def test_one_number_per_example_needs_no_axis():
    ours = Regression(targets=Targets((), mean=3.0, std=2.0))
    assert ours.output_shape == (1,)
    outputs, values = jnp.array([[0.5], [1.0]]), jnp.array([4.0, 6.0])
    np.testing.assert_allclose(ours.losses(outputs, values), [0.0, 0.25])
    np.testing.assert_allclose(ours.predictions(outputs), [4.0, 5.0])


def test_without_standardisation_outputs_are_the_values():
    ours = objective(standardize=False)
    np.testing.assert_allclose(ours.losses(VALUES + 2.0, VALUES), 4.0)
    np.testing.assert_array_equal(ours.predictions(VALUES), VALUES)


@pytest.mark.oracle
@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_hubers_loss_is_pytorchs(delta):
    torch = pytest.importorskip("torch")
    ours = objective(loss="huber", delta=delta, standardize=False)
    values = VALUES - 1000
    expected = torch.nn.HuberLoss(delta=delta)(torch.tensor(OUTPUTS), torch.tensor(values))
    assert float(ours.losses(OUTPUTS, values).mean()) == pytest.approx(expected.item(), rel=1e-6)


def test_hubers_loss_is_squared_and_then_linear():
    ours = Regression(targets=Targets((), mean=0.0, std=1.0), loss="huber", delta=2.0)
    outputs = jnp.array([[1.0], [2.0], [5.0]])
    np.testing.assert_allclose(ours.losses(outputs, jnp.zeros(3)), [0.5, 2.0, 8.0])


@pytest.mark.parametrize("targets", [Targets(num_classes=3), Targets((2, 2))])
def test_other_targets_are_refused(targets):
    with pytest.raises(ConfigError, match=r"^regression .*choose objective=classification"):
        Regression(targets=targets)
