"""Cross-entropy with smoothing and weights against PyTorch; metrics against hand counts."""

import json
from dataclasses import asdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import ConfigError
from runner.objectives import Objective, Targets
from runner.objectives.classification import Classification
from runner.objectives.next_token import NextToken
from runner.objectives.regression import Regression

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(12, 4)).astype(np.float32) * 3
LABELS = RANDOM.integers(0, 4, 12).astype(np.int32)
TARGETS = Targets(num_classes=4, counts=(10, 20, 30, 40))


def loss(objective):
    losses, weights = objective.training_losses(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    return float(losses.mean() if weights is None else losses.sum() / weights.sum())


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0, 3.0)])
def test_the_training_loss_is_pytorchs(smoothing, weights):
    torch = pytest.importorskip("torch")
    ours = Classification(targets=TARGETS, label_smoothing=smoothing, class_weights=weights)
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )
    expected = theirs(torch.tensor(LOGITS), torch.tensor(LABELS).long()).item()
    assert loss(ours) == pytest.approx(expected, rel=2e-6)


def test_smoothing_spreads_a_share_of_the_loss_over_all_classes():
    """The first class has a probability of 1/2, the other two 1/4 each."""
    objective = Classification(targets=Targets(num_classes=3), label_smoothing=0.3)
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    losses, weights = objective.training_losses(logits, jnp.array([0]))
    expected = 0.7 * np.log(2) + 0.3 * (np.log(2) + 2 * np.log(4)) / 3
    assert weights is None
    assert float(losses[0]) == pytest.approx(expected, rel=1e-6)
    assert float(objective.losses(logits, jnp.array([0]))[0]) == pytest.approx(np.log(2), rel=1e-6)


def test_balanced_weights_are_scikit_learns():
    """n / (classes * count), for counts of 10 to 40."""
    objective = Classification(targets=TARGETS, class_weights="balanced")
    np.testing.assert_allclose(objective.class_weights, [2.5, 1.25, 100 / 120, 0.625], rtol=1e-6)


def test_metrics_are_counts_over_the_valid_examples():
    objective = Classification(targets=Targets(num_classes=4), top_k=2)
    logits = jnp.array([[4, 3, 0, 0], [4, 3, 0, 0], [0, 0, 1, 2], [0, 0, 1, 2.0]])
    labels, valid = jnp.array([0, 1, 0, 2]), jnp.array([True, True, True, False])
    found = objective.metrics(objective.sums(logits, labels, valid))
    assert float(found["accuracy"]) == pytest.approx(1 / 3)
    assert float(found["top2_accuracy"]) == pytest.approx(2 / 3)
    expected = np.zeros((4, 4))
    expected[0, 0] = expected[1, 0] = expected[0, 3] = 1  # [class, predicted class]
    np.testing.assert_array_equal(found["confusion"], expected)
    np.testing.assert_array_equal(found["class_accuracy"], [0.5, 0, np.nan, np.nan])
    each = -jax.nn.log_softmax(logits)[jnp.arange(3), labels[:3]]
    assert float(found["loss"]) == pytest.approx(float(each.mean()))


@pytest.mark.slow
@pytest.mark.parametrize(("num_classes", "is_counted"), [(256, True), (257, False)])
def test_a_confusion_matrix_has_at_most_256_classes(num_classes, is_counted):
    objective = Classification(targets=Targets(num_classes=num_classes), top_k=num_classes - 1)
    logits = jnp.zeros((2, num_classes)).at[:, 200].set(1.0)
    sums = objective.sums(logits, jnp.array([200, 5]), jnp.array([True, True]))
    found = objective.metrics(sums)
    expected = {"accuracy", "loss", f"top{num_classes - 1}_accuracy"}
    assert set(found) == expected | ({"confusion", "class_accuracy"} if is_counted else set())
    assert float(found["accuracy"]) == 0.5
    if is_counted:
        assert int(found["confusion"][5, 200]) == int(found["confusion"][200, 200]) == 1


def test_evaluations_are_ranked_by_the_first_metric_and_its_better_end():
    ranks = [
        (Classification, {"accuracy": True, "loss": False}),
        (Regression, {"rmse": False, "mae": False, "r2": True, "loss": False}),
        (NextToken, {"loss": False, "perplexity": False, "bits_per_byte": False, "accuracy": True}),
        (Objective, {"loss": False}),
    ]
    for objective, expected in ranks:
        assert list(objective.highest_is_best.items()) == list(expected.items())


def test_targets_that_were_stored_as_json_are_the_same():
    stored = Targets((2,), None, (3, 4), (1, 2), (0.5, 1.5), (2.0, 3.0))
    found = Targets.of_record(json.loads(json.dumps(asdict(stored))))
    assert found == stored
    assert hash(found) == hash(stored)


@pytest.mark.parametrize(
    ("targets", "settings", "said"),
    [
        (Targets(), {}, r"^classification .*real numbers; choose another objective"),
        (Targets((5,), 3), {}, r"the targets are shape \(5,\)"),
        (TARGETS, {"class_weights": (1.0,)}, "^class_weights: 1 weights for 4 classes"),
        (TARGETS, {"class_weights": (0.0,) * 4}, r"^class_weights\[0\]: 0.0 is not above 0"),
        (TARGETS, {"label_smoothing": 1.5}, "^label_smoothing: 1.5"),
        (TARGETS, {"top_k": 4}, "^top_k: 4 of 4 classes"),
        (
            Targets(num_classes=2, counts=(3, 0)),
            {"class_weights": "balanced"},
            "class 1 has no training example",
        ),
    ],
)
def test_what_does_not_suit_is_refused(targets, settings, said):
    with pytest.raises(ConfigError, match=said):
        Classification(targets=targets, **settings)


def test_numbers_do_not_recompile():
    """They are arguments of the program: the structures are equal, apart from those left out."""
    one, other, plain = (
        jax.tree.structure(Classification(targets=TARGETS, label_smoothing=s))
        for s in (0.1, 0.2, 0.0)
    )
    assert one == other != plain
