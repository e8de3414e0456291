"""Run folders: each run gets its own, and a folder that cannot be written is named."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from runner.errors import ConfigError, FolderInUseError, StorageError
from runner.records.run_folder import (
    claim,
    claim_sweep,
    discard_unbegun,
    fork_source,
    holds_run,
    last_write,
    lock,
    replace_file,
    require_checkpoint,
    saved_steps,
    steps_of,
)


def test_a_new_folder_is_created_with_its_parents(tmp_path):
    folder = tmp_path / "outputs" / "day" / "time"
    assert claim(folder, explicit=False).folder == folder
    assert (folder / ".hydra").is_dir()


def test_a_taken_default_folder_gives_the_next_free_name(tmp_path):
    folder = tmp_path / "time"
    names = [claim(folder, explicit=False).folder.name for _ in range(3)]
    assert names == ["time", "time-1", "time-2"]


def test_a_taken_folder_asked_for_by_name_is_refused(tmp_path):
    claim(tmp_path / "mine", explicit=True)
    with pytest.raises(ConfigError) as caught:
        claim(tmp_path / "mine", explicit=True)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"hydra.run.dir: {tmp_path / 'mine'} already holds a run;")


def test_an_existing_folder_without_a_run_is_taken_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert claim(tmp_path, explicit=True).folder == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_with_a_summary_but_no_record_of_hydra_holds_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    assert claim(tmp_path / "run", explicit=False).folder == tmp_path / "run-1"


def test_runs_started_in_the_same_instant_get_different_folders(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(lambda _: claim(tmp_path / "time", explicit=False), range(64)))
    folders = [claimed.folder for claimed in claims]
    assert len(set(folders)) == 64
    assert all((folder / ".hydra").is_dir() for folder in folders)


def record(folder):
    """What Hydra and a run that never began leave behind."""
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (folder / ".hydra" / name).write_text("seed: 0")
    (folder / "summary.json").write_text("{}")


def test_a_folder_given_back_is_gone_and_may_be_claimed_again(tmp_path):
    folder = tmp_path / "day" / "time"
    for _ in range(2):
        claimed = claim(folder, explicit=True)
        record(folder)
        claimed.give_back()
        assert not folder.exists()
        assert folder.parent.is_dir()  # another run may be making its own in there


@pytest.mark.parametrize("names", [[], ["config.yaml"], ["overrides.yaml"]])
def test_a_folder_given_back_before_all_was_recorded_is_gone(tmp_path, names):
    claimed = claim(tmp_path / "run", explicit=True)
    for name in names:
        (claimed.folder / ".hydra" / name).touch()
    claimed.give_back()
    assert not claimed.folder.exists()


@pytest.mark.parametrize("theirs", [(), ("notes.txt",)])
def test_a_folder_that_was_there_before_stays_with_what_it_held(tmp_path, theirs):
    for name in theirs:
        (tmp_path / name).write_text("mine")
    claimed = claim(tmp_path, explicit=True)
    record(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    claimed.give_back()
    assert tmp_path.is_dir()
    assert sorted(tmp_path.rglob("*")) == (before if theirs else [])


@pytest.mark.parametrize("name", ["events.out.tfevents.1", "runner.log", ".hydra/mine.yaml"])
def test_nothing_is_removed_from_a_folder_that_holds_anything_else(tmp_path, name):
    claimed = claim(tmp_path / "run", explicit=True)
    record(claimed.folder)
    (claimed.folder / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    claimed.give_back()
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_that_give_their_folder_back_do_not_disturb_others_that_claim_it(tmp_path):
    def run(_):
        claimed = claim(tmp_path / "time", explicit=False)
        record(claimed.folder)
        claimed.give_back()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(500)))
    assert not [path for path in tmp_path.iterdir() if any(path.iterdir())]


@pytest.mark.parametrize("take", [claim, claim_sweep])
def test_a_file_in_the_way_is_named(tmp_path, take):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError) as caught:
            take(folder, explicit=False)
        assert caught.value.exit_code == 4
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("take", [claim, claim_sweep])
def test_a_broken_link_in_the_way_is_named(tmp_path, take, explicit):
    (tmp_path / "outputs").symlink_to("/gone")
    for folder in (tmp_path / "outputs", tmp_path / "outputs" / "day" / "time"):
        with pytest.raises(StorageError, match="outputs is a link to /gone, which does not exist"):
            take(folder, explicit=explicit)


def test_a_file_in_the_place_of_hydras_record_is_named(tmp_path):
    (tmp_path / ".hydra").touch()
    with pytest.raises(StorageError, match=r"File exists: .*/\.hydra"):
        claim(tmp_path, explicit=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("take", [claim, claim_sweep])
def test_a_read_only_folder_is_named(tmp_path, take):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied") as caught:
        take(tmp_path / "run", explicit=True)
    assert str(tmp_path / "run") in str(caught.value)


def test_a_file_system_that_refuses_new_folders_is_named():
    # /proc refuses them to root as well, so this runs for everyone.
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    with pytest.raises(StorageError, match="/proc/outputs"):
        claim(Path("/proc/outputs/run"), explicit=False)


def test_a_name_too_long_for_the_file_system_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        claim(tmp_path / ("x" * 300), explicit=True)


def test_a_taken_default_sweep_folder_gives_the_next_name_and_an_explicit_one_is_refused(tmp_path):
    folder = tmp_path / "sweep"
    assert claim_sweep(folder, explicit=False) == folder
    assert claim_sweep(folder, explicit=False) == tmp_path / "sweep-1"
    (folder / "multirun.yaml").write_text("hydra: {}")
    with pytest.raises(ConfigError, match="sweep already holds a multirun"):
        claim_sweep(folder, explicit=True)
    assert (folder / "multirun.yaml").read_text() == "hydra: {}"
    assert claim_sweep(tmp_path / "mine", explicit=True) == tmp_path / "mine"


def at_once(action, count):
    """What ``action(0)``, ... return or raise; 16 calls at a time begin in the same instant."""
    together = Barrier(16, timeout=60)

    def call(number):
        together.wait()
        try:
            return action(number)
        except ConfigError as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(call, range(count)))


def test_multiruns_started_in_the_same_instant_get_different_folders(tmp_path):
    folders = at_once(lambda _: claim_sweep(tmp_path / "time", explicit=False), 64)
    assert len(set(folders)) == 64
    assert all((folder / "multirun.yaml").exists() for folder in folders)


def test_of_multiruns_started_in_the_same_instant_one_gets_a_folder_asked_for_by_name(tmp_path):
    def take(number):
        return claim_sweep(tmp_path / str(number // 16), explicit=True)

    found = at_once(take, 20 * 16)
    taken = [each for each in found if not isinstance(each, ConfigError)]
    assert sorted(taken) == sorted(tmp_path / str(number) for number in range(20))


def test_claiming_needs_neither_jax_nor_tensorboard():
    code = (
        "import sys, runner.records.run_folder;"
        "print({'jax', 'tensorboardX', 'rich', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_a_resumed_run_prepares_is_not_its_last_write(tmp_path):
    assert last_write(tmp_path) == 0
    for name, written in (("events.out.tfevents.1", 100), (".summary.json", 300)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    assert last_write(tmp_path) == 100


@pytest.mark.parametrize(
    ("name", "folder", "step"),
    [
        ("runs/a", "runs/a", None),
        ("runs/a@20", "runs/a", 20),
        ("me@host/a@20", "me@host/a", 20),
    ],
)
def test_the_step_of_a_fork_follows_the_last_at_sign(name, folder, step):
    assert fork_source(name) == (Path(folder), step)


@pytest.mark.parametrize("step", ["x", "-1", "1.5", "²", "٣", "1" * 11, "1_0", " 1", ""])
def test_what_follows_the_at_sign_is_a_step(step):
    with pytest.raises(ConfigError, match=r"^init_from: '.*' is not a step; write RUN_FOLDER"):
        fork_source(f"runs/a@{step}")


def test_the_last_possible_step_may_be_named():
    assert fork_source("a@2147483647") == (Path("a"), 2**31 - 1)


def test_a_folder_holds_a_run_once_its_settings_are_recorded(tmp_path):
    assert not holds_run(tmp_path)
    config = tmp_path / ".hydra" / "config.yaml"
    config.mkdir(parents=True)
    assert not holds_run(tmp_path)
    config.rmdir()
    config.touch()
    assert not holds_run(tmp_path)
    config.write_text("seed: 0")
    assert holds_run(tmp_path)


def test_checkpoints_are_folders_with_the_name_of_a_step(tmp_path):
    assert saved_steps(tmp_path) == []
    for name in ("20", "3", ".30", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "7").touch()
    assert saved_steps(tmp_path) == [3, 20]


def test_a_checkpoint_that_is_missing_is_named_with_those_that_exist(tmp_path):
    place = str(tmp_path / "checkpoints")
    with pytest.raises(StorageError, match="holds no checkpoint; name a run") as caught:
        require_checkpoint(tmp_path, None)
    assert caught.value.key == place
    with pytest.raises(StorageError, match="holds no checkpoint of step 0; known: none"):
        require_checkpoint(tmp_path, 0)
    for name in ("0", "20"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    for step in (None, 0, 20):
        require_checkpoint(tmp_path, step)
    with pytest.raises(StorageError, match="no checkpoint of step 3; known: 0, 20") as caught:
        require_checkpoint(tmp_path, 3)
    assert caught.value.key == place


def test_one_process_at_a_time_holds_a_folder(tmp_path):
    with lock(tmp_path):
        with (
            pytest.raises(FolderInUseError, match="another run is using it") as caught,
            lock(tmp_path),
        ):
            pass
        assert (caught.value.key, caught.value.exit_code) == (str(tmp_path), 7)
    with lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_as_a_whole_or_named(tmp_path):
    replace_file(tmp_path / "a.yaml", "é: 1\n")
    replace_file(tmp_path / "a.yaml", "é: 2\n")
    assert (tmp_path / "a.yaml").read_bytes() == "é: 2\n".encode()
    with pytest.raises(StorageError, match=r"none/a\.yaml: cannot be written \(No such file"):
        replace_file(tmp_path / "none" / "a.yaml", "")


def test_a_link_beside_the_results_is_not_followed_for_the_last_write(tmp_path):
    (tmp_path / "notes").symlink_to("nowhere")
    assert last_write(tmp_path) == (tmp_path / "notes").lstat().st_mtime


@pytest.mark.parametrize("name", [".hydra", "checkpoints", "snapshots", "range_test", "scheduler"])
def test_a_run_does_not_write_through_a_link_in_its_folder(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path)
    with (
        pytest.raises(StorageError, match=f"run/{name}: is a link") as caught,
        lock(tmp_path / "run"),
    ):
        pass
    assert caught.value.exit_code == 4


def test_links_that_runs_do_not_write_to_are_the_users_own(tmp_path):
    (tmp_path / "data").symlink_to("/")
    with lock(tmp_path):
        pass


def test_only_what_a_killed_run_had_written_is_discarded(tmp_path):
    record = tmp_path / ".hydra"
    record.mkdir()
    for name in ("hydra.yaml", ".config.yaml.123"):
        (record / name).write_text("")
    discard_unbegun(tmp_path)
    assert not record.exists()
    record.mkdir()
    (record / "notes.txt").write_text("mine")
    discard_unbegun(tmp_path)
    assert (record / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".hydra/config.yaml", "summary.json"])
def test_the_record_of_a_run_that_has_begun_is_not_discarded(tmp_path, name):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").touch()
    (tmp_path / name).touch()
    discard_unbegun(tmp_path)
    assert (tmp_path / ".hydra" / "hydra.yaml").exists()
    assert (tmp_path / name).exists()


def test_the_record_of_a_run_that_is_just_starting_is_not_discarded(tmp_path):
    discard_unbegun(tmp_path / "none")
    (tmp_path / ".hydra").mkdir()
    with lock(tmp_path), pytest.raises(FolderInUseError):
        discard_unbegun(tmp_path)
    assert (tmp_path / ".hydra").is_dir()


def test_files_behind_a_link_are_not_discarded(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hydra.yaml").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".hydra").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError, match="is a link"):
        discard_unbegun(tmp_path / "run")
    assert (tmp_path / "other" / "hydra.yaml").read_text() == "kept"


def test_a_step_is_a_number_without_leading_zeros_that_fits_the_device():
    names = ["20", "0", "3", "007", "00", "2147483647", "2147483648", "9" * 30, "-1", "²", "4.tmp"]
    assert steps_of(names) == [0, 3, 20, 2147483647]
