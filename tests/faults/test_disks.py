"""Disks that are full, limited or read-only."""

import json
import subprocess
import sys

from injection import SMALL

from runner.records.checkpoints import Checkpoints

LARGE = (
    "model.hidden=[1024]",
    "optimizer=adam",
    "scheduler.base_lr=0.001",
    "scheduler.max_lr=0.01",
)


def test_a_disk_that_fills_up_while_a_checkpoint_is_saved(disk, run_cli, summary):
    """
    Fault: the disk is full while a checkpoint is saved
    Effect: the run ends; earlier checkpoints are kept, the incomplete one is removed, and a summary
        is written
    Exit code: 4
    """
    folder = disk("size=2500k") / "run"
    done = run_cli(f"hydra.run.dir={folder}", *SMALL, *LARGE)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "cannot be written (No space left on device)" in done.stderr
    assert "earlier checkpoints are kept" in done.stderr
    saved = Checkpoints(folder)
    assert saved.steps()
    assert saved.newest().step == saved.steps()[-1]
    assert [p.name for p in saved.folder.iterdir() if not p.name.isdecimal()] == []
    assert summary(folder)["status"] == "failed"


def test_a_disk_that_fills_up_while_events_are_written(disk, run_cli, summary):
    """
    Fault: the disk is full while TensorBoard's events are written
    Effect: one warning; training continues at full speed, and the summary names the first step that
        is not logged
    Exit code: 0
    """
    folder = disk("size=400k") / "run"
    steps = ("training.steps=8000", "training.eval_every=null", "checkpoint.every=null")
    done = run_cli(f"hydra.run.dir={folder}", SMALL[0], *steps)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("events can no longer be written") == 1
    found = summary(folder)
    assert (found["status"], found["steps"]) == ("finished", 8000)
    assert 0 < found["logging_lost_at_step"] < 8000


def test_a_read_only_disk(disk, run_cli):
    """
    Fault: the output folder is on a read-only disk
    Effect: refused before anything is compiled
    Exit code: 4
    """
    folder = disk("ro,size=100k")
    done = run_cli(f"hydra.run.dir={folder / 'run'}", *SMALL)
    assert (done.returncode, "Read-only file system" in done.stderr) == (4, True)


LIMITED = """if True:
    import resource, sys
    from runner.cli import main
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    sys.exit(main())
"""


def python(program, *args, environment, cwd):
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def limited(environment, cwd, *args):
    """``python -m runner hydra.run.dir=run ARGS``, where no file may exceed 300 kB."""
    return python(LIMITED, "hydra.run.dir=run", *args, environment=environment, cwd=cwd)


def test_a_file_size_limit(environment, tmp_path):
    """
    Fault: a file exceeds the file size limit of the process (RLIMIT_FSIZE)
    Effect: as on a full disk
    Exit code: 4
    """
    # One array of 1 MB: how Orbax distributes smaller ones over files depends on the time.
    done = limited(environment, tmp_path, *SMALL, *LARGE, "model.hidden=[4096]")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


REPEATED = """if True:
    import resource, time
    from pathlib import Path
    import numpy as np
    from runner.errors import StorageError
    from runner.records.checkpoints import Checkpoints
    checkpoints = Checkpoints(Path("run"))
    array = np.random.default_rng(0).standard_normal((200, 200)).astype("float32")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    for step in range(20):
        try:
            checkpoints.save(step, {f"params/{i}": array for i in range(60)}, {"settings": {}})
        except StorageError as error:
            assert "File too large" in error.problem
        time.sleep(0.1)
        assert list(checkpoints.folder.iterdir()) == []
"""


def test_a_save_that_fails_while_other_files_are_written(environment, tmp_path):
    """
    Fault: one of several files that are written at the same time exceeds the file size limit
    Effect: the incomplete checkpoint is removed only once the other writes have ended, so that
        none of them creates its folder again
    Exit code: 4
    """
    done = python(REPEATED, environment=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Event loop is closed" not in done.stderr


def test_a_file_size_limit_while_a_schedule_is_written(environment, tmp_path):
    """
    Fault: the schedule that task=check writes exceeds the file size limit
    Effect: the run ends and names the file
    Exit code: 4
    """
    done = limited(environment, tmp_path, "task=check", "training.steps=50000", "model=linear")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "schedule.csv: cannot be written (File too large)" in done.stderr
