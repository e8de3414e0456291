"""Ensembles of snapshots, averages of their weights, and statistics for these."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling import slow_except

from runner.data import feed as feed_module
from runner.data.dataset import Dataset, Split
from runner.data.feed import Feed
from runner.models.mlp import linear
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.objectives.regression import Regression
from runner.optimizers import Optimizer
from runner.training import snapshots as module
from runner.training.snapshots import (
    averaged_params,
    ensemble_metrics,
    recompute_statistics,
    snapshot_arrays,
)
from runner.training.state import Static, TrainState

SGD = Optimizer("sgd", static=(), momentum_name=None)
CLASSES, FEATURES, EXAMPLES = 3, 4, 23
random = np.random.default_rng(0)
INPUTS = random.normal(1.5, 2.0, size=(EXAMPLES, FEATURES)).astype(np.float32)
LABELS = random.integers(0, CLASSES, EXAMPLES).astype(np.int32)
VALUES = random.normal(size=EXAMPLES).astype(np.float32)


def feed_of(targets, *, batch_size=4, placement="device"):
    split = Split(INPUTS, targets)
    classes = CLASSES if targets.dtype == np.int32 else None
    dataset = Dataset(split, split, num_classes=classes, mean=0.0, std=1.0)
    device = jax.devices()[0]
    return Feed(dataset, batch_size=batch_size, seed=0, placement=placement, device=device)


def linear_models(count, outputs):
    """The variables of some linear models, with weights that differ a lot."""
    draw = np.random.default_rng(1)
    return [
        {
            "params": {
                "Dense_0": {
                    "kernel": draw.normal(size=(FEATURES, outputs)).astype(np.float32),
                    "bias": draw.normal(size=outputs).astype(np.float32),
                }
            }
        }
        for _ in range(count)
    ]


def outputs_of(variables):
    dense = variables["params"]["Dense_0"]
    return INPUTS.astype(np.float64) @ dense["kernel"] + dense["bias"]


def loaded(models):
    return [lambda model=model: model for model in models]


def probabilities(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("section", ["params", "model_state"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_has_no_snapshot(section, value):
    (variables,) = linear_models(1, CLASSES)
    fields = {
        "params": variables["params"],
        "model_state": {"batch_stats": {"mean": np.ones(3, np.float32)}},
    }

    def arrays(fields):
        rest = {"opt_state": (), "key": jax.random.key(0), "slow": None}
        state = TrainState(step=np.int32(4), average=fields["params"], **fields, **rest)
        return snapshot_arrays(Static(linear(num_outputs=CLASSES), SGD), state)

    assert sorted(arrays(fields)) == [
        "model_state/batch_stats/mean",
        "params/Dense_0/bias",
        "params/Dense_0/kernel",
    ]
    one_bad = np.array([1, value, 1], np.float32)
    bad = {
        "params": {"Dense_0": {**fields["params"]["Dense_0"], "bias": one_bad}},
        "model_state": {"batch_stats": {"mean": one_bad}},
    }
    assert arrays({**fields, section: bad[section]}) is None


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 10**9])
@pytest.mark.parametrize("placement", ["device", "host"])
def test_an_ensemble_of_classifiers_answers_with_its_mean_probabilities(
    monkeypatch, placement, at_once
):
    monkeypatch.setattr(feed_module, "EVALUATION_BATCH", 10)  # the last batch is padded
    monkeypatch.setattr(module, "_OUTPUT_BYTES", at_once)
    models, static = linear_models(4, CLASSES), Static(linear(num_outputs=CLASSES), SGD)
    objective = Classification(targets=Targets(num_classes=CLASSES))
    feed = feed_of(LABELS, placement=placement)
    found = ensemble_metrics(static, objective, feed, "test", loaded(models))
    assert len(found) == 4
    for k, metrics in enumerate(found, start=1):
        mean = np.mean([probabilities(outputs_of(model)) for model in models[:k]], axis=0)
        own = mean[np.arange(EXAMPLES), LABELS]
        assert float(metrics["accuracy"]) == pytest.approx(np.mean(mean.argmax(-1) == LABELS))
        assert float(metrics["loss"]) == pytest.approx(-np.log(own).mean(), rel=2e-6)


def test_a_member_that_is_sure_of_a_wrong_class_leaves_the_loss_finite():
    objective = Classification(targets=Targets(num_classes=2))
    sure, unsure = jnp.array([[200.0, 0.0]]), jnp.array([[0.0, 0.0]])
    outputs = objective.ensemble(objective.ensemble(sure, sure, 1), unsure, 2)
    np.testing.assert_allclose(outputs, np.log([[5 / 6, 1 / 6]]), rtol=1e-6)
    certain = objective.ensemble(sure, sure, 1)
    assert float(objective.losses(certain, jnp.array([1]))[0]) == pytest.approx(200)


def test_an_ensemble_of_regressions_answers_with_its_mean_output():
    models, static = linear_models(3, 1), Static(linear(num_outputs=1), SGD)
    objective = Regression(targets=Targets(), standardize=False)
    found = ensemble_metrics(static, objective, feed_of(VALUES), "test", loaded(models))
    for k, metrics in enumerate(found, start=1):
        mean = np.mean([outputs_of(model)[:, 0] for model in models[:k]], axis=0)
        rmse = np.sqrt(np.mean((mean - VALUES) ** 2))
        assert float(metrics["rmse"]) == pytest.approx(rmse, rel=1e-5)


def test_averaged_weights_are_the_mean_of_the_first_snapshots():
    models = [
        {**model, "batch_stats": {"count": np.float32(i)}}
        for i, model in enumerate(linear_models(5, CLASSES))
    ]
    for k, variables in enumerate(averaged_params(loaded(models)), start=1):
        for name in ("kernel", "bias"):
            stacked = np.stack([m["params"]["Dense_0"][name] for m in models[:k]])
            mean = stacked.mean(0, dtype=np.float64).astype(np.float32)
            found = variables["params"]["Dense_0"][name]
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, mean)
        assert variables["batch_stats"]["count"] == k - 1
    assert k == 5


class Normalised(nn.Module):
    """Dense, then batch normalisation, with statistics of its own in another collection."""

    momentum: float
    num_outputs: int = CLASSES

    @nn.compact
    def __call__(self, x, *, train):
        seen = self.variable("counters", "batches", lambda: jnp.zeros((), jnp.int32))
        if train and not self.is_initializing():
            seen.value = seen.value + 1
        x = nn.Dense(self.num_outputs)(x)
        return nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(x)


@pytest.mark.parametrize("momentum", slow_except([0.9], [0.0, 0.9, 0.99]))
@pytest.mark.parametrize(("accumulate", "batch"), [(1, 4), (2, 8)])
def test_recomputed_statistics_are_those_of_all_activations(momentum, accumulate, batch):
    """Five batches of 4 examples: the statistics of the 20 activations of a layer."""
    model = Normalised(momentum)
    static = Static(model, SGD, accumulate=accumulate)
    variables = model.init(jax.random.key(0), INPUTS[:1], train=False)
    feed = feed_of(LABELS, batch_size=batch)
    steps = 5 // accumulate
    key = jax.random.key(1)
    found = recompute_statistics(static, variables, feed, steps=steps, key=key)
    batches = [np.asarray(rows) for rows in feed.single_batches(0, steps)]
    dense = variables["params"]["Dense_0"]
    activations = INPUTS[np.concatenate(batches)].astype(np.float64) @ dense["kernel"]
    activations += dense["bias"]
    statistics = found["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], activations.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], activations.var(0), rtol=1e-5)
    assert found["counters"]["batches"] == 0
    assert found["params"]["Dense_0"]["kernel"] is not None


class Dropped(nn.Module):
    """Batch normalisation of ones, of which half are dropped and the others doubled."""

    @nn.compact
    def __call__(self, x, *, train):
        ones = nn.Dropout(0.5, deterministic=not train)(jnp.ones((len(x), 1000)))
        ones = nn.BatchNorm(use_running_average=not train)(ones)
        return nn.Dense(CLASSES)(ones)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "steps"), [(1, 2), (2, 1)])
def test_each_batch_of_recomputed_statistics_has_its_own_dropout(accumulate, steps):
    """Of two batches of one example each, an activation is kept twice, once or never."""
    model = Dropped()
    static = Static(model, SGD, accumulate=accumulate)
    variables = model.init(jax.random.key(0), INPUTS[:1], train=False)
    feed, key = feed_of(LABELS, batch_size=accumulate), jax.random.key(1)
    found = recompute_statistics(static, variables, feed, steps=steps, key=key)
    means = np.asarray(found["batch_stats"]["BatchNorm_0"]["mean"]).round(4)
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(counts, [250, 500, 250], atol=95)  # 6 sigma


@pytest.mark.parametrize(("compute_dtype", "rounds"), [("float32", False), ("bfloat16", True)])
def test_statistics_are_recomputed_in_the_type_that_the_model_computes_in(compute_dtype, rounds):
    static = Static(Normalised(0.9), SGD, compute_dtype=compute_dtype)
    means = []
    for weight in (1.0, 1 + 2**-9):  # of which bfloat16 makes 1
        variables = Normalised(0.9).init(jax.random.key(0), INPUTS[:1], train=False)
        kernel = jnp.full((FEATURES, CLASSES), weight)
        variables = {**variables, "params": {**variables["params"]}}
        variables["params"]["Dense_0"] = {"kernel": kernel, "bias": jnp.zeros(CLASSES)}
        found = recompute_statistics(
            static, variables, feed_of(LABELS), steps=2, key=jax.random.key(1)
        )
        means.append(np.asarray(found["batch_stats"]["BatchNorm_0"]["mean"]))
    assert np.array_equal(*means) == rounds


def test_statistics_that_no_update_changes_stay_as_they_are():
    """With a momentum of 1 an update says nothing about the batch."""
    model = Normalised(1.0)
    variables = dict(model.init(jax.random.key(0), INPUTS[:1], train=False))
    kept = jax.tree.map(lambda a: a + 3, variables["batch_stats"])
    feed, key = feed_of(LABELS), jax.random.key(1)
    variables |= {"batch_stats": kept}
    found = recompute_statistics(Static(model, SGD), variables, feed, steps=2, key=key)
    jax.tree.map(np.testing.assert_array_equal, found["batch_stats"], kept)


def test_a_model_without_statistics_is_left_alone():
    (variables,) = linear_models(1, CLASSES)
    static = Static(linear(num_outputs=CLASSES), SGD)
    key = jax.random.key(0)
    assert recompute_statistics(static, variables, None, steps=1, key=key) is variables
