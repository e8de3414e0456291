"""Checkpoints on disk: what was saved is read back to the bit, and any damage is noticed."""

import json
import logging
import math
import random
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from runner.errors import ConfigError, StorageError
from runner.records.checkpoints import FORMAT, Checkpoints

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "float16", "float32"]
DTYPES += ["float64", "bfloat16", "float8_e4m3fn"]


def some_arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "step": np.array(7 + seed, np.int32),
        "params/Dense_0/kernel": rng.standard_normal((5, 3)).astype(np.float32),
        "params/Dense_0/bias": rng.standard_normal(3).astype(np.float32),
        "opt_state/0/count": np.array(2**31 - 1, np.int32),
        "key": np.array([0, 2**32 - 1], np.uint32),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def checkpoints(tmp_path):
    """Two saved checkpoints, of steps 10 and 20."""
    found = Checkpoints(tmp_path)
    found.save(10, some_arrays(10), {"figures": 10})
    found.save(20, some_arrays(20), {"figures": 20})
    return found


def test_every_type_and_shape_is_read_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for name in DTYPES:
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        for shape in [(), (1,), (3, 4), (0,), (2, 0, 3)]:
            data = rng.bytes(math.prod(shape) * dtype.itemsize)
            data = bytes(byte % 2 for byte in data) if dtype.kind == "b" else data
            arrays[f"params/{name}/{shape}"] = np.frombuffer(data, dtype).reshape(shape)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, arrays, {})
    assert_same(checkpoints.load(0).arrays, arrays)


def test_values_that_are_not_finite_are_read_back_to_the_bit(tmp_path):
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    Checkpoints(tmp_path).save(1, {"params/a": special}, {})
    assert_same(Checkpoints(tmp_path).load(1).arrays, {"params/a": special})


def test_the_record_is_read_back(tmp_path):
    record = {"figures": {"best": None, "metrics": {"eval/loss": 0.1}}, "plugins": ["ü"]}
    path = Checkpoints(tmp_path).save(5, some_arrays(), record)
    found = Checkpoints(tmp_path).newest()
    assert path == found.path == tmp_path / "checkpoints" / "5"
    assert (found.step, found.record) == (5, record)
    assert sorted(entry.name for entry in path.iterdir()) == [
        "manifest.json",
        "record.json",
        "state",
    ]


def test_every_file_and_folder_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    folder, synced = tmp_path / "checkpoints", []

    def note(path):
        synced.append((path.relative_to(folder).as_posix(), (folder / "5").exists()))

    monkeypatch.setattr("runner.records.checkpoints.sync", note)
    Checkpoints(tmp_path).save(5, some_arrays(), {})
    written = {path.relative_to(folder / "5").as_posix() for path in (folder / "5").rglob("*")}
    assert set(synced[:-1]) == {(".5", False), *((f".5/{name}", False) for name in written)}
    assert synced[-3:] == [(".5/manifest.json", False), (".5", False), (".", True)]


def test_a_folder_without_checkpoints_has_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == []
    assert checkpoints.newest() is None
    with pytest.raises(StorageError, match="holds no checkpoint; name a run that has saved one"):
        checkpoints.saved()


def test_a_step_that_was_not_saved_is_an_error_that_lists_those_that_were(checkpoints):
    assert checkpoints.saved(10).step == 10
    assert checkpoints.saved().step == 20
    with pytest.raises(StorageError, match=r"holds no checkpoint of step 15; known: 10, 20"):
        checkpoints.saved(15)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"figures": None},
        {"figures": {}},
        {"figures": {"best": None}},
        {"figures": {"best": [10]}},
        {"figures": {"best": {}}},
        {"figures": {"best": {"step": 30}}},
    ],
)
def test_a_run_without_a_checkpoint_of_its_best_evaluation_says_so(tmp_path, record):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, some_arrays(), record)
    said = "holds no checkpoint of the best evaluation; known: 10$"
    with pytest.raises(StorageError, match=said) as caught:
        checkpoints.saved(best=True)
    assert caught.value.key == str(checkpoints.folder)


def test_the_newest_checkpoint_names_the_one_of_the_best_evaluation(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((10, 10), (20, 10), (30, 20)):
        checkpoints.save(step, some_arrays(step), {"figures": {"best": {"step": best}}})
    assert checkpoints.saved(best=True).step == 20
    with pytest.raises(ConfigError, match=r"^task\.best: true, but step is 10; give one"):
        checkpoints.saved(10, best=True, key="task.best")


def test_no_flipped_bit_is_restored(checkpoints):
    rng = random.Random(0)
    paths = [path for path in files(checkpoints.folder / "20") if path.stat().st_size]
    # First one bit of each file, then of files chosen by their size.
    chosen = [*paths, *rng.choices(paths, [p.stat().st_size for p in paths], k=200 - len(paths))]
    for path in chosen:
        before = path.read_bytes()
        bit = rng.randrange(8 * len(before))
        flipped = bytearray(before)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StorageError, match="is damaged"):
            checkpoints.load(20)
        path.write_bytes(before)
    assert_same(checkpoints.load(20).arrays, some_arrays(20))


def damages():
    def truncated(path):
        path.write_bytes(path.read_bytes()[:-1])

    def emptied(path):
        path.write_bytes(b"")

    def removed(path):
        path.unlink()

    def added(path):
        path.with_name("another").write_bytes(b"x")

    def linked(path):
        target = path.parents[2] / f".elsewhere-{path.name}"
        path.rename(target)
        path.symlink_to(target)

    def extended(path):
        path.write_bytes(path.read_bytes() + b"\n")

    return [truncated, emptied, removed, added, extended, linked]


@pytest.mark.parametrize("damage", damages(), ids=lambda damage: damage.__name__)
def test_no_damage_to_any_file_goes_unnoticed(checkpoints, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints.folder / "20", copy)
    for original in files(copy):
        path = checkpoints.folder / "20" / original.relative_to(copy)
        if path.stat().st_size == 0 and damage.__name__ in ("truncated", "emptied"):
            continue
        damage(path)
        with pytest.raises(StorageError, match="is damaged"):
            checkpoints.load(20)
        shutil.rmtree(checkpoints.folder / "20")
        shutil.copytree(copy, checkpoints.folder / "20")
    assert checkpoints.load(20).step == 20


def test_the_error_names_the_damaged_file(checkpoints):
    path = checkpoints.folder / "20" / "record.json"
    path.write_text(path.read_text().replace("20", "21"))
    with pytest.raises(StorageError, match=r"record\.json differs from what was saved") as caught:
        checkpoints.load(20)
    assert caught.value.key == str(checkpoints.folder / "20")
    assert caught.value.exit_code == 4


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(checkpoints, caplog):
    (checkpoints.folder / "20" / "manifest.json").unlink()
    found = checkpoints.newest()
    assert found.step == 10
    assert_same(found.arrays, some_arrays(10))
    assert len(warnings(caplog)) == 1
    assert f"{checkpoints.folder / '20'}: is damaged" in warnings(caplog)[0]
    assert warnings(caplog)[0].endswith("; the previous checkpoint is used")


def test_if_all_are_damaged_none_is_restored_and_nothing_starts_again(checkpoints):
    for step in ("10", "20"):
        (checkpoints.folder / step / "record.json").unlink()
    with pytest.raises(StorageError, match=r"all checkpoints are damaged \(10, 20\)") as caught:
        checkpoints.newest()
    assert caught.value.exit_code == 4


def test_a_newer_format_is_refused_and_not_passed_over(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, some_arrays(), {})
    monkeypatch.setattr("runner.records.checkpoints.FORMAT", FORMAT + 1)
    checkpoints.save(20, some_arrays(), {})
    monkeypatch.undo()
    with pytest.raises(StorageError, match=r"newer version \(format 2\); update the runner"):
        checkpoints.newest()


def test_an_unfinished_save_is_ignored_and_removed_by_the_next(checkpoints):
    unfinished = checkpoints.folder / ".30"
    shutil.copytree(checkpoints.folder / "20", unfinished)
    for name in ("notes", ".notes"):
        (checkpoints.folder / name).mkdir()
    assert checkpoints.steps() == [10, 20]
    checkpoints.save(40, some_arrays(), {})
    left = ["10", "20", "40", "notes", ".notes"]
    assert {p.name for p in checkpoints.folder.iterdir()} == set(left)


def test_an_intact_checkpoint_is_not_written_again(checkpoints):
    before = (checkpoints.folder / "20" / "manifest.json").stat().st_mtime_ns
    checkpoints.save(20, some_arrays(20), {"figures": 20})
    assert (checkpoints.folder / "20" / "manifest.json").stat().st_mtime_ns == before


def test_a_damaged_one_of_the_same_step_is_set_aside(checkpoints):
    (checkpoints.folder / "20" / "record.json").unlink()
    checkpoints.save(20, some_arrays(21), {})
    assert_same(checkpoints.load(20).arrays, some_arrays(21))
    assert checkpoints.steps() == [10, 20]
    assert (checkpoints.folder / "20.damaged").is_dir()


def test_a_second_damaged_one_of_a_step_takes_the_place_of_the_first(checkpoints):
    for seed in (21, 22):
        (checkpoints.folder / "20" / "record.json").unlink()
        checkpoints.save(20, some_arrays(seed), {})
    assert_same(checkpoints.load(20).arrays, some_arrays(22))
    aside = {path.name for path in checkpoints.folder.iterdir()}
    assert aside == {"10", "20", "20.damaged"}
    assert not (checkpoints.folder / "20.damaged" / "record.json").exists()


def test_two_checkpoints_are_kept_by_default(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        assert checkpoints.save(step, {"step": np.array(step)}, {}).name == str(step)
    checkpoints.prune(kept=lambda step: False)
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.save(3, {}, {}) == checkpoints.folder / "3"  # there is an intact one


def test_a_damaged_one_of_a_later_step_does_not_take_the_place_of_one_to_keep(checkpoints):
    (checkpoints.folder / "20" / "record.json").unlink()
    assert checkpoints.newest().step == 10
    checkpoints.save(15, some_arrays(15), {})  # the resumed run saves at another step
    checkpoints.prune(kept=lambda step: False)
    assert checkpoints.steps() == [10, 15]


@pytest.mark.parametrize(
    ("keep", "kept", "left"),
    [
        (1, (), [50]),
        (2, (), [40, 50]),
        (9, (), [10, 20, 30, 40, 50]),
        (2, (10, 30), [10, 30, 40, 50]),
    ],
)
def test_the_newest_and_the_wanted_ones_are_kept(tmp_path, keep, kept, left):
    checkpoints = Checkpoints(tmp_path, keep=keep)
    for step in (10, 20, 30, 40, 50):
        checkpoints.save(step, {"step": np.array(step, np.int32)}, {})
    checkpoints.prune(kept=lambda step: step in kept)
    assert checkpoints.steps() == left
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [str(s) for s in left]


LIMITED = """if True:
    import resource, sys
    from pathlib import Path
    import numpy as np
    from runner.errors import StorageError
    from runner.records.checkpoints import Checkpoints
    folder = Path(sys.argv[1])
    checkpoints = Checkpoints(folder)
    checkpoints.save(10, {"params/a": np.ones(8)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    values = np.random.default_rng(0).standard_normal(100_000)  # does not compress
    try:
        checkpoints.save(20, {"params/a": values}, {})
    except StorageError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_a_file_size_limit_keeps_the_earlier_checkpoint_and_leaves_nothing_behind(
    tmp_path, environment
):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr
    assert "20: cannot be written (" in done.stdout
    assert "; free some space, or choose another folder; " in done.stdout
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["10"]
    assert Checkpoints(tmp_path).newest().step == 10


def test_a_full_disk_keeps_the_earlier_checkpoint_and_leaves_nothing_behind(small_disk):
    checkpoints = Checkpoints(small_disk)
    checkpoints.save(10, {"params/a": np.ones(8)}, {})
    noise = np.random.default_rng(0).standard_normal(100_000)
    for _ in range(2):
        with pytest.raises(
            StorageError, match=r"cannot be written \(.*earlier checkpoints are kept"
        ):
            checkpoints.save(20, {"params/a": noise}, {})
    assert [path.name for path in checkpoints.folder.iterdir()] == ["10"]
    assert checkpoints.newest().step == 10


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot be read \(Not a directory\)"):
        Checkpoints(tmp_path).save(1, some_arrays(), {})


def test_names_in_the_manifest_are_of_files_below_the_checkpoint(checkpoints):
    manifest = json.loads((checkpoints.folder / "20" / "manifest.json").read_text())
    present = {
        p.relative_to(checkpoints.folder / "20").as_posix()
        for p in files(checkpoints.folder / "20")
    }
    assert set(manifest["files"]) == present - {"manifest.json"}
