"""The self-test kills real processes, so it is slow."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from runner.cli.commands import configure
from runner.errors import StorageError
from runner.records import checkpoints
from runner.tasks import selftest


@pytest.mark.slow
def test_the_states_of_a_killed_run_are_all_equal(run_cli, tmp_path):
    done = run_cli("task=selftest", "hydra.run.dir=self", timeout=580)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3][1:]
    killed = [row[0].strip() for row in rows]
    assert killed == [*map(str, selftest.KILLED_AT), "the end"]
    assert [row[3].strip() for row in rows] == ["yes"] * len(rows)
    assert sorted(path.name for path in (tmp_path / "self").iterdir() if path.is_dir()) == [
        ".hydra",
        "killed",
        "whole",
    ]


@pytest.fixture
def no_processes(monkeypatch):
    """Replaces the runs by folders that are never written; the states are texts by step."""
    states = {}

    class Saved:
        def __init__(self, folder):
            self.folder = folder

        def saved(self, step=None):
            newest = max(step for name, step in states if name == self.folder.name)
            return type("Saved", (), {"step": step or newest})

    def kill(config, folder, step):
        states[folder.name, step] = True

    monkeypatch.setattr(checkpoints, "Checkpoints", Saved)
    monkeypatch.setattr(selftest, "_kill", kill)
    monkeypatch.setattr(
        selftest, "_finish", lambda config, folder: kill(config, folder, selftest.STEPS)
    )


def test_a_state_that_differs_is_named_and_ends_in_4(no_processes, monkeypatch, run, capsys):
    def sha256(folder, step):
        return f"{step} differs" if (folder.name, step) == ("killed", 40) else f"{step}"

    monkeypatch.setattr(selftest, "_sha256", sha256)
    code, _ = run("task=selftest")
    captured = capsys.readouterr()
    assert code == 4
    assert "the state differs from the undisturbed run's at step 40; " in captured.err
    assert captured.out.count("| yes") == 6
    assert captured.out.count("| NO") == 1


def test_a_run_that_fails_is_an_error_with_its_last_line(monkeypatch, run, capsys):
    monkeypatch.setattr(selftest, "_SETTINGS", ("task=train", "typo=1"))
    code, _ = run("task=selftest")
    assert code == 4
    assert "whole: the run failed (typo: " in capsys.readouterr().err


class Process:
    """A run that is killed, or has ended by itself with ``code``."""

    def __init__(self, code=None):
        self.code, self.killed = code, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def poll(self):
        return self.code

    def communicate(self):
        return None, "warning: odd\nerror: seed: is odd; change it\n"

    def kill(self):
        self.killed += 1


def kill_at(monkeypatch, process, step, *seen):
    """Kills ``process`` at ``step`` while the steps of its checkpoints are ``seen`` in turn."""
    left = list(seen)
    saved = SimpleNamespace(steps=lambda: left.pop(0))
    monkeypatch.setattr(checkpoints, "Checkpoints", lambda _: saved)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: process)
    selftest._kill(configure(), Path("run"), step)
    return left


@pytest.mark.parametrize("last", [[5, 10, 15], [10, 20]])
def test_a_run_is_killed_once_there_is_its_checkpoint_or_a_later_one(monkeypatch, last):
    process = Process()
    assert kill_at(monkeypatch, process, 15, [], [5], [5, 10], last, "more") == ["more"]
    assert process.killed == 1


def test_a_run_that_ends_before_its_checkpoint_is_an_error_with_its_last_line(monkeypatch):
    process = Process(code=2)
    with pytest.raises(StorageError, match=r"^run: the run failed \(seed: is odd; change it\)"):
        kill_at(monkeypatch, process, 15, [5])
    assert process.killed == 0


def test_the_runs_are_on_the_chosen_device_and_go_on_where_they_were():
    chosen = "seed=7", "accelerator=cpu", "compilation_cache=false"
    line = selftest._command(configure(*chosen), Path("run"))
    assert line[:3] == [sys.executable, "-m", "runner"]
    assert {*chosen, "resume=auto", "task=train", "training.steps=60"} <= {*line}


@pytest.mark.parametrize("name", ["a, (b) = c", "it's", "ends in \\", "it\\'s"])
def test_a_folder_may_have_any_name(name, tmp_path):
    line = selftest._command(configure(), tmp_path / name)
    found = next(argument for argument in line if argument.startswith("hydra.run.dir="))
    [override] = OverridesParser.create().parse_overrides([found])
    assert override.value() == str(tmp_path / name)
