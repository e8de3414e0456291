"""Evaluation: sums over the examples of a split, without the padding of its last batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.data import feed as feed_module
from runner.data.dataset import Dataset, Examples, Split
from runner.data.feed import Feed
from runner.models.mlp import linear
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, split
from runner.schedules import Constant
from runner.training.evaluation import evaluate, evaluated_variables, score
from runner.training.state import Hyperparams, Static
from runner.training.step import init_state

# The logits are 0, 0 and log 2, so class 2 is predicted, with a probability of one half.
OBJECTIVE = Classification(targets=Targets(num_classes=3))
PREDICTED, LOSSES = 2, {0: np.log(4), 1: np.log(4), 2: np.log(2)}


@pytest.fixture(scope="module")
def predicts_2():
    """The static part and the variables of a classifier that predicts class 2 for any input."""
    chosen, values = split("sgd", {"momentum": None})
    static = Static(linear(num_outputs=3), chosen)
    hyperparams = Hyperparams(Constant(base_lr=0.1), values, Wrappers.of(), OBJECTIVE)
    state = init_state(static, hyperparams, seed=jnp.uint32(0), inputs=jnp.zeros((1, 2, 2, 1)))
    params = {"kernel": jnp.zeros((4, 3)), "bias": jnp.array([0.0, 0.0, np.log(2)])}
    state.params["Dense_0"].update(params)
    return static, evaluated_variables(static, state)


def test_padding_counts_neither_in_the_loss_nor_in_the_correct_answers(predicts_2):
    targets, valid = jnp.array([2, 1, 2, 2, 2]), jnp.array([True, True, True, False, False])
    sums = score(*predicts_2, OBJECTIVE, Examples(jnp.ones((5, 2, 2, 1)), targets), valid)
    assert int(sums["correct"]) == 2
    np.testing.assert_allclose(sums["loss"], 2 * np.log(2) + np.log(4), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_the_means_are_those_of_all_examples_of_the_test_split(
    predicts_2, monkeypatch, placement, batch
):
    """The last example, which pads the last batch, is one that is classified correctly."""
    monkeypatch.setattr(feed_module, "EVALUATION_BATCH", batch)
    targets = np.array([0, 1, 2, 2, 1, 2, 2], np.int32)
    examples = Split(np.ones((7, 2, 2, 1), np.uint8), targets)
    dataset = Dataset(examples, examples, num_classes=3, mean=0.0, std=1.0)
    device = jax.devices()[0]
    feed = Feed(dataset, batch_size=2, seed=0, placement=placement, device=device)
    found = evaluate(*predicts_2, OBJECTIVE, feed.source("test"), feed.split_batches("test"))
    assert float(found["accuracy"]) == pytest.approx(4 / 7)
    loss = sum(LOSSES[int(target)] for target in targets) / 7
    assert float(found["loss"]) == pytest.approx(loss, rel=1e-6)
