"""Snapshots on disk: durable, verified, and replaced as a whole."""

import os

import numpy as np
import pytest
from safetensors.numpy import save

from runner.errors import ConfigError, StorageError
from runner.records.checkpoints import Checkpoint, Checkpoints
from runner.records.snapshot_files import (
    Snapshots,
    SnapshotSaver,
    SnapshotTable,
    task_checkpoint,
    with_snapshot,
)

ARRAYS = {
    "params/Dense_0/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "model_state/counters/batches": np.array(3, np.int32),
}


@pytest.fixture
def store(tmp_path):
    return Snapshots(tmp_path)


def test_what_was_saved_is_loaded(store, tmp_path):
    store.save(20, ARRAYS)
    store.save(3, ARRAYS)
    store.save("swa", ARRAYS)
    assert store.folder == tmp_path / "snapshots"
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


@pytest.mark.parametrize(("dtype", "size"), [("F8_E4M3", 1), ("BF16", 2), ("F4", 1), ("C64", 8)])
def test_a_type_that_no_run_saves_is_damage(store, dtype, size):
    store.save(1, ARRAYS)
    header = f'{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}'.encode()
    store.path(2).write_bytes(len(header).to_bytes(8, "little") + header + size * b"\0")
    with pytest.raises(StorageError, match=r"2\.safetensors: is damaged"):
        store.load(2)


def test_a_snapshot_that_does_not_exist_names_those_that_do(store):
    store.save(7, ARRAYS)
    with pytest.raises(StorageError, match="there is no such snapshot; known: 7"):
        store.load("swa")


def test_the_snapshots_that_exist_are_named_with_their_average(store):
    with pytest.raises(StorageError, match="there is no such snapshot; known: none"):
        store.load(7)
    store.save("swa", ARRAYS)
    store.save(9, ARRAYS)
    with pytest.raises(StorageError, match="there is no such snapshot; known: 9, swa"):
        store.load(7)


@pytest.mark.parametrize(("name", "step"), [(None, 30), (10, 10), ("swa", 20)])
def test_a_snapshot_takes_the_place_of_the_parameters_of_a_checkpoint(store, tmp_path, name, step):
    for number, each in enumerate((10, 20, "swa")):
        store.save(each, {"params/a": np.array(number)})
    path = tmp_path / "checkpoints" / "30"
    saved = Checkpoint(30, path, {"params/a": np.array(-1)}, {"steps": 30})
    found = with_snapshot(saved, name, is_chosen=False)
    assert (found.step, found.record) == (step, saved.record)
    assert found.path == (path if name is None else store.path(name))
    assert found.arrays["params/a"] == {None: -1, 10: 0, "swa": 2}[name]


def test_an_average_without_its_snapshots_has_the_step_of_the_checkpoint(store, tmp_path):
    store.save("swa", ARRAYS)
    saved = Checkpoint(30, tmp_path / "checkpoints" / "30", {}, {})
    assert with_snapshot(saved, "swa", is_chosen=False).step == 30


def test_a_task_reads_the_checkpoint_or_the_snapshot_it_is_asked_for(store, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, {"params/a": np.array(step)}, {"figures": {"best": {"step": 10}}})
    store.save(5, ARRAYS)
    chosen = [(None, False, None), (10, False, None), (None, True, None), (None, False, 5)]
    found = [task_checkpoint(str(tmp_path), step=s, best=b, snapshot=n) for s, b, n in chosen]
    assert [checkpoint.step for checkpoint in found] == [20, 10, 10, 5]
    for step, best in ((10, False), (None, True)):
        with pytest.raises(ConfigError, match=r"^task\.snapshot: 5, but step or best chooses"):
            task_checkpoint(str(tmp_path), step=step, best=best, snapshot=5)
    with pytest.raises(ConfigError, match=r"^task\.best: true, but step is 10; give one"):
        task_checkpoint(str(tmp_path), step=10, best=True, snapshot=None)
    with pytest.raises(ConfigError, match=r"^resume: is null, but the task needs a run"):
        task_checkpoint(None, step=None, best=False, snapshot=None)


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
