"""The feed: what is sent to the device for each step."""

import jax
import numpy as np
import pytest

from runner.data.dataset import Dataset, Split
from runner.data.feed import Feed, choose_placement
from runner.data.order import batch_indices


@pytest.fixture(scope="module")
def dataset():
    def examples(n):
        inputs = np.arange(n * 6, dtype=np.uint16).reshape(n, 3, 2, 1)
        return Split(inputs, np.arange(n, dtype=np.int32) % 10)

    return Dataset(examples(23), examples(5), num_classes=10, mean=8.0, std=4.0)


def feed(dataset, placement, seed=3):
    device = jax.devices()[0]
    return Feed(dataset, batch_size=4, seed=seed, placement=placement, device=device)


def test_the_bytes_of_a_step_are_those_of_its_indices_or_of_its_examples(dataset):
    assert feed(dataset, "device").batch_bytes() == 4 * 4  # int32 indices
    assert feed(dataset, "host").batch_bytes() == 4 * (6 * 2 + 4)  # six uint16 and an int32 each


@pytest.mark.parametrize("placement", ["device", "host"])
def test_a_chunk_holds_the_examples_of_its_steps_in_the_order_of_the_seed(dataset, placement):
    """Steps 4 to 6 of epochs of five steps, in a chunk with room for five."""
    ours = feed(dataset, placement)
    batches = ours.batches(4, 3, capacity=5)
    indices = batch_indices(seed=3, first_step=4, count=3, batch_size=4, n=23)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(batches)} == {(5, 4)}
    for step, row in enumerate(indices):
        batch = jax.tree.map(lambda array, step=step: array[step], batches)
        inputs, targets = ours.source("train").prepared(batch)
        expected = (dataset.train.inputs[row].astype(np.float32) - 8) / 4
        np.testing.assert_array_equal(inputs, expected)
        np.testing.assert_array_equal(targets, dataset.train.targets[row])


class Device:
    """A device with so many bytes of memory."""

    def __init__(self, limit):
        self.limit = limit

    def memory_stats(self):
        return {"bytes_limit": self.limit}


@pytest.mark.parametrize(("limit", "placement"), [(250, "device"), (249, "host")])
def test_a_data_set_with_its_targets_may_take_40_percent_of_the_memory(limit, placement):
    """Twenty examples of a byte, each with a target of four: 100 bytes."""
    examples = Split(np.zeros((10, 1, 1, 1), np.uint8), np.zeros(10, np.int32))
    dataset = Dataset(examples, examples, num_classes=2, mean=0.0, std=1.0)
    assert choose_placement(dataset, Device(limit)) == placement
