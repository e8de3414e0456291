"""Snapshots on disk: durable, verified, and replaced as a whole."""

import os

import numpy as np
import pytest
from safetensors.numpy import save

from runner.errors import StorageError
from runner.records.snapshot_files import Snapshots, SnapshotSaver, SnapshotTable

ARRAYS = {
    "params/Dense_0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "model_state/counters/batches": np.array(3, np.int32),
}


@pytest.fixture
def store(tmp_path):
    return Snapshots(tmp_path)


def test_what_was_saved_is_loaded(store):
    store.save(20, ARRAYS)
    store.save(3, ARRAYS)
    store.save("swa", ARRAYS)
    assert store.steps() == [3, 20]
    for name in (3, 20, "swa"):
        found = store.load(name)
        assert found.keys() == ARRAYS.keys()
        for path, array in ARRAYS.items():
            np.testing.assert_array_equal(found[path], array)
            assert (found[path].dtype, found[path].shape) == (array.dtype, array.shape)
    assert sorted(os.listdir(store.folder)) == [
        "20.safetensors",
        "3.safetensors",
        "swa.safetensors",
    ]


def test_the_same_arrays_give_the_same_bytes(store):
    store.save(1, ARRAYS)
    store.save(2, dict(reversed(ARRAYS.items())))
    assert store.path(1).read_bytes() == store.path(2).read_bytes()


def test_every_flipped_bit_is_noticed_or_changes_nothing(store):
    store.save(1, ARRAYS)
    content = store.path(1).read_bytes()
    noticed = 0
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            store.path(1).write_bytes(flipped)
            try:
                found = store.load(1)
            except StorageError:
                noticed += 1
            else:
                assert found.keys() == ARRAYS.keys()
                for path, array in ARRAYS.items():
                    np.testing.assert_array_equal(found[path], array)
    assert noticed > 0.95 * 8 * len(content)


def test_a_damaged_snapshot_is_left_out_with_a_warning(store, caplog):
    for step in (1, 2, 3):
        store.save(step, ARRAYS)
    store.path(2).write_bytes(store.path(2).read_bytes()[:-1])
    assert store.intact_steps() == [1, 3]
    assert "2.safetensors: is damaged" in caplog.text


@pytest.mark.parametrize("metadata", [None, {}, {"sha256": "0" * 64}, {"format": "np"}])
def test_a_file_without_the_hash_of_its_arrays_is_not_a_snapshot(store, metadata):
    store.save(1, ARRAYS)
    kernel = {"params/Dense_0/kernel": np.zeros((2, 3), np.float32)}
    store.path(2).write_bytes(save(kernel, metadata))
    with pytest.raises(StorageError, match=r"2\.safetensors: is damaged \(.*its content differs"):
        store.load(2)
    assert store.intact_steps() == [1]


def test_a_snapshot_that_does_not_exist_names_those_that_do(store):
    store.save(7, ARRAYS)
    with pytest.raises(StorageError, match="there is no such snapshot; known: 7"):
        store.load("swa")


def test_later_snapshots_are_discarded(store):
    for step in (5, 10, 15):
        store.save(step, ARRAYS)
    store.discard_after(10)
    assert store.steps() == [5, 10]


def test_a_full_disk_keeps_what_was_saved(small_disk):
    store = Snapshots(small_disk)
    store.save(1, ARRAYS)
    with pytest.raises(StorageError, match=r"2\.safetensors: cannot be written"):
        store.save(2, {"params/kernel": np.zeros(10**6, np.float32)})
    assert os.listdir(store.folder) == ["1.safetensors"]
    assert store.intact_steps() == [1]


def test_a_state_that_is_not_finite_is_not_saved(store, caplog):
    states = {4: ARRAYS, 8: None}
    saver = SnapshotSaver(store, range(4, 9, 4), to_arrays=states.get)
    assert [step for step in range(10) if saver.is_due(step)] == [4, 8]
    saver.save(4, 4)
    saver.save(8, 8)
    assert store.steps() == [4]
    assert "the state after step 8 is not finite" in caplog.text


def test_a_table_replaces_the_one_before_it(tmp_path):
    table = SnapshotTable(tmp_path)
    assert table.last_step() == 0
    for count in (1, 2):
        steps = np.arange(1, count + 1) * 10
        table.replace({"step": steps, "swa/eval/accuracy": steps / np.float32(100)})
    assert table.path.read_text() == "step,swa/eval/accuracy\n10,0.1\n20,0.2\n"
    assert table.last_step() == 20
    assert os.listdir(tmp_path) == ["snapshots.csv"]
    table.path.write_text("")
    assert table.last_step() == 0


def test_a_pipe_in_place_of_the_table_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "snapshots.csv")
    assert SnapshotTable(tmp_path).last_step() == 0
