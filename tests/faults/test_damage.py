"""Damaged checkpoints, unsuitable settings, and divergence."""

import json
import shutil

import pytest
from injection import SMALL

from runner.records.checkpoints import Checkpoints


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped bit": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint(stopped, run_cli, damage):
    """
    Fault: a checkpoint with a flipped bit, a truncated file or a missing file
    Effect: a warning, and the previous checkpoint is used
    Exit code: 0
    """
    paths = [p for p in (stopped / "checkpoints" / "40" / "state").rglob("*") if p.is_file()]
    DAMAGES[damage](max(paths, key=lambda path: path.stat().st_size))
    done = run_cli("resume=run")
    assert done.returncode == 0, done.stderr
    assert "resumes at step 20 of 60" in done.stdout
    assert "checkpoints/40: is damaged" in done.stdout + done.stderr


def test_all_checkpoints_damaged(stopped, run_cli, summary):
    """
    Fault: all checkpoints of a run are damaged
    Effect: refused; the run does not start over from step 0
    Exit code: 4
    """
    for path in stopped.glob("checkpoints/*/record.json"):
        flip(path)
    done = run_cli("resume=run")
    assert (done.returncode, "all checkpoints are damaged" in done.stderr) == (4, True)
    assert summary(stopped)["steps"] == 0


def test_an_interrupted_save(stopped, run_cli):
    """
    Fault: a process killed in the middle of a save
    Effect: the incomplete checkpoint is ignored, and removed by the next save
    Exit code: 0
    """
    saved = stopped / "checkpoints"
    shutil.copytree(saved / "40", saved / ".60")
    (saved / ".60" / "manifest.json").unlink()
    done = run_cli("resume=run")
    assert (done.returncode, "resumes at step 40 of 60" in done.stdout) == (0, True)
    assert sorted(path.name for path in saved.iterdir() if path.name.startswith(".")) == []


def test_changed_settings(stopped, run_cli):
    """
    Fault: resuming with changed settings
    Effect: refused with a list of the changes, unless resume_changes=true; lengths and logging may
        change
    Exit code: 2
    """
    done = run_cli("resume=run", "scheduler.max_lr=0.5")
    assert (done.returncode, "scheduler.max_lr from 0.2 to 0.5" in done.stderr) == (2, True)
    assert run_cli("resume=run", "training.steps=70", "training.log_every=2").returncode == 0


def test_a_changed_model(stopped, run_cli):
    """
    Fault: resuming with a model of another shape
    Effect: refused; the error names the parameter and both shapes
    Exit code: 4
    """
    done = run_cli("resume=run", "model.hidden=[9]", "resume_changes=true")
    assert done.returncode == 4
    assert "params/Dense_0/bias is float32[8], not float32[9]" in done.stderr


def test_a_newer_version(stopped, run_cli, monkeypatch):
    """
    Fault: a checkpoint written by a newer version
    Effect: refused; an older checkpoint is not used in its place
    Exit code: 4
    """
    newest = Checkpoints(stopped).newest()
    shutil.rmtree(newest.path)
    monkeypatch.setattr("runner.records.checkpoints.FORMAT", 99)
    Checkpoints(stopped).save(newest.step, newest.arrays, newest.record)
    done = run_cli("resume=run")
    assert (done.returncode, "newer version (format 99)" in done.stderr) == (4, True)


def test_a_finished_run(stopped, run_cli, summary):
    """
    Fault: resuming a run that has finished
    Effect: nothing is trained, and the summary stays as it is
    Exit code: 0
    """
    assert run_cli("resume=run").returncode == 0
    before = (stopped / "summary.json").read_text()
    assert run_cli("resume=run").returncode == 0
    assert (stopped / "summary.json").read_text() == before
    assert json.loads(before)["status"] == "finished"


def test_not_a_run(run_cli, tmp_path):
    """
    Fault: resuming a folder that is not a run
    Effect: refused
    Exit code: 2
    """
    (tmp_path / "notes").mkdir()
    done = run_cli("resume=notes", *SMALL)
    assert (done.returncode, "is not a run folder" in done.stderr) == (2, True)


def test_a_loss_that_is_not_finite(run_cli, tmp_path, summary):
    """
    Fault: a loss that is not finite
    Effect: the run ends; the error names step, rate, cycle and the last checkpoint, which has
        only finite values
    Exit code: 5
    """
    steps = ("checkpoint.every=1", "training.chunk=1")
    done = run_cli("hydra.run.dir=run", *SMALL[:3], *steps, "scheduler.max_lr=1e30")
    assert done.returncode == 5
    assert "where the rate was" in done.stderr
    last = Checkpoints(tmp_path / "run").newest().step
    assert f"the last checkpoint is at step {last}" in done.stderr
    assert summary(tmp_path / "run")["status"] == "diverged"


def test_backing_off(run_cli):
    """
    Fault: a loss that is not finite, with training.on_divergence=back_off
    Effect: training continues from the last checkpoint with half the rates, at most three times
    Exit code: 0 if training then succeeds, else 5
    """
    rate = ("scheduler=constant", "scheduler.base_lr=1e30", "training.on_divergence=back_off")
    done = run_cli("hydra.run.dir=run", *SMALL[:3], "checkpoint.every=1", *rate)
    assert done.returncode == 5
    printed = done.stdout + done.stderr
    assert printed.count("times the rates") == 3
    assert "in cycle" not in printed  # a constant rate has no cycles
