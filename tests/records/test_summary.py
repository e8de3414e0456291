"""summary.json is complete or absent, and valid JSON; different params have different hashes."""

import hashlib
import json
import os
import stat
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.errors import StorageError
from runner.records.summary import (
    blank_summary,
    params_sha256,
    read_status,
    release_reserved,
    reserve_summary,
    write_summary,
)


def test_numbers_that_json_lacks_become_null(tmp_path):
    summary = {
        "status": "diverged",
        "steps": 12,
        "metrics": {"eval/loss": float("nan"), "eval/accuracy": np.float32(0.5)},
        "best": None,
        "seconds": {"total": float("inf"), "compile": np.float64(1.25)},
        "lanes": (np.int32(3), jnp.float32(-np.inf), jnp.arange(2)),
        "folder": tmp_path,
    }
    path = write_summary(tmp_path, summary)
    assert path == tmp_path / "summary.json"

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "status": "diverged",
        "steps": 12,
        "metrics": {"eval/loss": None, "eval/accuracy": 0.5},
        "best": None,
        "seconds": {"total": None, "compile": 1.25},
        "lanes": [3, None, [0, 1]],
        "folder": str(tmp_path),
    }


def test_text_of_any_script_is_readable_in_the_file(tmp_path):
    write_summary(tmp_path, {"overrides": ["dataset.root=Läufe/模型"]})
    assert "dataset.root=Läufe/模型" in (tmp_path / "summary.json").read_text(encoding="utf-8")


def test_nothing_but_the_summary_is_left_behind(tmp_path):
    write_summary(tmp_path, {"steps": 1})
    write_summary(tmp_path, {"steps": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"steps": 2}


def test_a_full_disk_leaves_the_earlier_summary_and_says_so(tmp_path, monkeypatch):
    write_summary(tmp_path, {"steps": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        write_summary(tmp_path, {"steps": 2})
    assert caught.value.exit_code == 4
    assert "summary.json: cannot be written (No space left on device)" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"steps": 1}


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file or directory"):
        write_summary(tmp_path / "gone", {})


def test_the_reserved_space_becomes_the_summary(tmp_path):
    reserve_summary(tmp_path)
    [reserved] = tmp_path.iterdir()
    assert reserved.name != "summary.json"  # which would say that the run has ended
    place = reserved.stat().st_ino
    path = write_summary(tmp_path, {"steps": 1})
    assert [path] == list(tmp_path.iterdir())
    assert path.stat().st_ino == place
    assert json.loads(path.read_text()) == {"steps": 1}


def test_what_a_run_that_ended_before_its_first_step_does_not_know_is_null():
    found = blank_summary("stopped", seed=3, seconds=1.5)
    versions = found.pop("versions")
    assert set(versions) == {"python", "runner", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert (versions["jax"], versions["numpy"]) == (jax.__version__, np.__version__)
    unknown = ["epochs", "best", "steps_per_second", "device", "params", "params_sha256"]
    assert found == {
        **dict.fromkeys([*unknown, "goodput", "logging_lost_at_step", "parent"]),
        "status": "stopped",
        "steps": 0,
        "seed": 3,
        "metrics": {},
        "seconds": {"total": 1.5, "to_first_step": None, "compile": None},
        "checkpoint": {"last": None, "best": None},
        "overrides": [],
        "settings": {},
    }


def test_the_space_that_is_reserved_is_several_blocks_and_can_be_released(tmp_path):
    write_summary(tmp_path, {"status": "finished"})
    release_reserved(tmp_path)  # there is none
    for _ in range(2):
        reserve_summary(tmp_path)
    [reserved] = [path for path in tmp_path.iterdir() if path.name != "summary.json"]
    assert reserved.stat().st_size == 8192
    release_reserved(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert read_status(tmp_path) == "finished"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"status": null}', "[" * 100_000])
def test_a_summary_that_cannot_be_read_has_no_status(tmp_path, text):
    assert read_status(tmp_path) is None
    (tmp_path / "summary.json").write_text(text)
    assert read_status(tmp_path) is None


def test_a_pipe_in_place_of_the_summary_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "summary.json")
    assert read_status(tmp_path) is None


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_summary_fits_on_a_disk_that_others_filled(small_disk):
    reserve_summary(small_disk)
    fill(small_disk)
    path = write_summary(small_disk, {"versions": ["x" * 100] * 40})
    assert len(json.loads(path.read_text())["versions"]) == 40


def test_a_disk_without_space_for_a_summary_is_reported_at_once(small_disk):
    fill(small_disk)
    with pytest.raises(StorageError, match="No space left"):
        reserve_summary(small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def params():
    return {
        "Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)},
        "Dense_1": {"kernel": jnp.arange(3.0).reshape(3, 1), "bias": jnp.zeros(1)},
    }


def test_equal_params_have_equal_hashes_however_they_are_stored():
    on_device, on_host = params(), jax.tree.map(np.asarray, params())
    reordered = dict(reversed(params().items()))
    big_endian = jax.tree.map(lambda leaf: np.asarray(leaf).astype(">f4"), params())
    assert len({params_sha256(p) for p in (on_device, on_host, reordered, big_endian)}) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["Dense_0"].update(bias=p["Dense_0"]["bias"].at[2].set(1e-45)),
        lambda p: p["Dense_0"].update(kernel=jnp.ones((3, 2))),
        lambda p: p["Dense_0"].update(bias=jnp.zeros(3, jnp.int32)),
        lambda p: p.update(Dense_2=p.pop("Dense_1")),
        lambda p: p.pop("Dense_1"),
    ],
    ids=["one bit", "shape", "dtype", "path", "fewer"],
)
def test_any_difference_gives_another_hash(change):
    changed = params()
    change(changed)
    assert params_sha256(changed) != params_sha256(params())


def test_the_hash_is_computed_as_documented():
    by_hand = hashlib.sha256(
        b'["a/b", "float32", [2]]\n\x00\x00\x80\x3f\x00\x00\x00\x40["c", "bfloat16", []]\n\x80\x3f'
    )
    given = {"c": jnp.ones((), jnp.bfloat16), "a": {"b": jnp.array([1.0, 2.0])}}
    assert params_sha256(given) == by_hand.hexdigest()


def test_the_summary_and_then_its_name_are_synchronised_with_the_disk(tmp_path, monkeypatch):
    synced = []

    def note(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        synced.append(("folder" if is_folder else "file", (tmp_path / "summary.json").exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_summary(tmp_path, {"steps": 1})
    assert synced == [("file", False), ("folder", True)]


def test_a_link_at_the_name_of_the_prepared_summary_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".summary.json").symlink_to("precious")
    reserve_summary(tmp_path)
    assert (tmp_path / ".summary.json").stat().st_size > 0
    (tmp_path / ".summary.json").unlink()
    (tmp_path / ".summary.json").symlink_to("precious")
    with pytest.raises(StorageError):
        write_summary(tmp_path, {"steps": 1})
    assert (tmp_path / "precious").read_text() == "kept"
