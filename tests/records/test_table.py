"""A table reads back to the same float32; no file replaces another, and errors name the file."""

import csv

import numpy as np
import pytest

from runner.errors import StorageError
from runner.records.table import replaced, write_picture, write_table


def test_the_table_reads_back_to_the_same_float32(tmp_path):
    rng = np.random.default_rng(0)
    rates = np.concatenate([np.float32([0, 0.1, 1e-45, 3e38]), rng.random(996, dtype=np.float32)])
    momentum = rng.random(1000, dtype=np.float32)
    path = tmp_path / "schedule.csv"
    cycles = np.arange(1000) // 400
    columns = {"step": np.arange(1000), "lr": rates, "momentum": momentum, "cycle": cycles}
    blocks = [slice(0, 600), slice(600, 1000)]
    write_table(path, [{name: column[b] for name, column in columns.items()} for b in blocks])
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "lr", "momentum", "cycle"]
    assert [int(row[0]) for row in rows] == list(range(1000))
    np.testing.assert_array_equal(np.array([row[1] for row in rows], np.float32), rates)
    np.testing.assert_array_equal(np.array([row[2] for row in rows], np.float32), momentum)
    assert [int(row[3]) for row in rows] == cycles.tolist()
    assert rows[1][1] == "0.1"  # the fewest digits, not 0.10000000149


def test_each_group_has_a_column_and_a_constant_momentum_an_empty_one(tmp_path):
    path = tmp_path / "schedule.csv"
    rates = {"lr/body": np.float32([0.1, 0.2]), "lr/head": np.float32([1, 2])}
    block = {"step": np.arange(2), **rates, "momentum": None, "cycle": np.array([0, 1])}
    write_table(path, [block])
    assert path.read_text() == ("step,lr/body,lr/head,momentum,cycle\n0,0.1,1.0,,0\n1,0.2,2.0,,1\n")


def test_a_table_that_exists_is_not_overwritten(tmp_path):
    path = tmp_path / "schedule.csv"
    path.write_text("mine")
    with pytest.raises(StorageError, match=r"schedule\.csv: cannot be written \(File exists\)"):
        write_table(path, [])
    assert path.read_text() == "mine"


def test_a_picture_that_exists_is_not_overwritten(tmp_path):
    path = tmp_path / "schedule.png"
    write_picture(path, b"png")
    assert path.read_bytes() == b"png"
    with pytest.raises(StorageError, match=r"schedule\.png: cannot be written \(File exists\)"):
        write_picture(path, b"other")
    assert path.read_bytes() == b"png"


def test_a_file_is_replaced_only_once_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    (tmp_path / ".a.csv").write_text("of an interrupted attempt")

    def fail(prepared):
        prepared.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"/a\.csv: cannot be written \(No space left"):
        replaced(path, fail)
    assert path.read_text() == "old"
    replaced(path, lambda prepared: write_table(prepared, [{"step": np.arange(2)}]))
    assert path.read_text() == "step\n0\n1\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_a_full_disk_is_reported_with_the_file(small_disk):
    with pytest.raises(StorageError, match=r"a\.csv: cannot be written \(No space left"):
        write_table(small_disk / "a.csv", [{"step": np.arange(100_000)}])
    with pytest.raises(StorageError, match=r"a\.png: cannot be written \(No space left"):
        write_picture(small_disk / "a.png", bytes(2**20))
