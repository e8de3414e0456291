"""The feed: what is sent to the device for each step."""

import threading

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


@pytest.mark.parametrize("placement", ["device", "host", "stream"])
def test_a_chunk_holds_the_examples_of_its_steps_in_the_order_of_the_seed(dataset, placement):
    """Steps 4 to 6 of epochs of five steps, in a chunk with room for five."""
    ours = feed(dataset, placement)
    batches = ours.batches(4, 3, capacity=5)
    indices = batch_indices(seed=3, first_step=4, count=3, batch_size=4, n=23)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(batches)} == {(5, 4)}
    for step, row in enumerate(indices):
        batch = jax.tree.map(lambda array, step=step: array[step], batches)
        inputs, targets, *_ = ours.source("train").prepared(batch)
        expected = (dataset.train.inputs[row].astype(np.float32) - 8) / 4
        np.testing.assert_array_equal(inputs, expected)
        np.testing.assert_array_equal(targets, dataset.train.targets[row])
    ours.close()


@pytest.mark.parametrize("placement", ["device", "host", "stream"])
def test_single_batches_are_those_of_a_chunk(dataset, placement):
    """Also after a jump, and when a chunk takes only some of those that were gathered ahead."""
    ours = feed(dataset, placement)
    for first, count in ((0, 3), (3, 4), (20, 2), (1, 1)):
        indices = batch_indices(seed=3, first_step=first, count=count, batch_size=4, n=23)
        found = [ours.source("train").prepared(b) for b in ours.single_batches(first, count)]
        assert len(found) == count
        for row, examples in zip(indices, found, strict=True):
            np.testing.assert_array_equal(examples.targets, dataset.train.targets[row])
    ours.close()


@pytest.mark.parametrize("placement", ["device", "host", "stream"])
def test_an_evaluation_sees_each_example_once_in_order(dataset, placement, monkeypatch):
    """Five examples in batches of two; the padding of the last one repeats the last example."""
    monkeypatch.setattr("runner.data.feed.EVALUATION_BATCH", 2)
    ours = feed(dataset, placement)
    for _ in range(2):
        found = [
            (ours.source("test").prepared(batch).targets.tolist(), valid.tolist())
            for batch, valid in ours.split_batches("test")
        ]
        assert found == [([0, 1], [True] * 2), ([2, 3], [True] * 2), ([4, 4], [True, False])]


def test_a_split_smaller_than_a_batch_is_one_batch_without_padding(dataset):
    ((batch, valid),) = feed(dataset, "device").split_batches("test")
    assert isinstance(batch, jax.Array)  # sent once, not for every evaluation
    assert (batch.tolist(), valid.tolist()) == ([0, 1, 2, 3, 4], [True] * 5)


def test_validation_reads_its_split_or_that_of_the_test(dataset):
    validation = Split(dataset.test.inputs[1:3], dataset.test.targets[1:3])
    ours = feed(dataset, "device")
    assert ours.source("validation") is ours.source("test")
    divided = feed(dataset.divided(train=dataset.train, validation=validation), "device")
    assert divided.source("validation").resident.targets.tolist() == [1, 2]
    assert len(next(iter(divided.split_batches("validation")))[1]) == 2


@pytest.mark.parametrize(("count", "length"), [(1, 2), (2, 2), (3, 8), (8, 8), (9, 32), (32, 32)])
def test_a_chunk_from_the_host_has_few_lengths_and_at_most_three_quarters_of_padding(
    dataset, count, length
):
    batches = feed(dataset, "host").batches(0, count, capacity=32)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(batches)} == {length}


def test_the_thread_that_gathers_ends_with_the_feed(dataset):
    before = threading.active_count()
    ours = feed(dataset, "stream")
    next(iter(ours.single_batches(0, 1)))
    assert threading.active_count() == before + 1
    ours.close()
    ours.close()
    assert threading.active_count() == before


def test_a_feed_with_another_seed_gathers_its_own_batches(dataset):
    """The batches that the first feed has gathered ahead are of its order."""
    ours = feed(dataset, "stream")
    list(ours.single_batches(0, 2))
    other = ours.reseeded(7)
    indices = batch_indices(seed=7, first_step=2, count=1, batch_size=4, n=23)
    (batch,) = other.single_batches(2, 1)
    np.testing.assert_array_equal(batch.targets, dataset.train.targets[indices[0]])
    np.testing.assert_array_equal(batch.inputs, dataset.train.inputs[indices[0]])
    other.close()
    ours.close()


def test_an_error_while_gathering_reaches_the_loop(dataset, monkeypatch):
    def fail(self, indices):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Split, "take", fail)
    ours = feed(dataset, "stream")
    with pytest.raises(OSError, match="gone"):
        ours.batches(0, 2, capacity=2)
    ours.close()


def test_overlapping_blocks_are_streamed():
    blocks = np.lib.stride_tricks.sliding_window_view(np.arange(50, dtype=np.int32), 8)
    split = Split(blocks, blocks)
    dataset = Dataset(split, split, num_classes=50, normalized=False)
    assert choose_placement(dataset, Device(None)) == "stream"
    apart = Split(blocks[::8], blocks[::8])
    dataset = Dataset(apart, apart, num_classes=50, normalized=False)
    assert choose_placement(dataset, Device(None)) == "device"


def test_a_mapped_file_is_streamed(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 2), np.float32))
    mapped = Split(np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(10, np.int32))
    assert choose_placement(Dataset(mapped, mapped, num_classes=2), Device(None)) == "stream"


class Device:
    """A device with so many bytes of memory."""

    def __init__(self, limit):
        self.limit = limit

    def memory_stats(self):
        return None if self.limit is None else {"bytes_limit": self.limit}


@pytest.mark.parametrize(
    ("limit", "placement"), [(250, "device"), (249, "stream"), (None, "device")]
)
def test_a_data_set_with_its_targets_may_take_40_percent_of_the_memory(limit, placement):
    """Twenty examples of a byte, each with a target of four: 100 bytes."""
    examples = Split(np.zeros((10, 1, 1, 1), np.uint8), np.zeros(10, np.int32))
    dataset = Dataset(examples, examples, num_classes=2, mean=0.0, std=1.0)
    assert choose_placement(dataset, Device(limit)) == placement
