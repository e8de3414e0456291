"""The self-test kills real processes, so it is slow."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from runner.cli.commands import configure
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


@pytest.mark.parametrize("name", ["a, (b) = c", "it's", "ends in \\", "it\\'s"])
def test_a_folder_may_have_any_name(name, tmp_path):
    line = selftest._command(configure(), tmp_path / name)
    found = next(argument for argument in line if argument.startswith("hydra.run.dir="))
    [override] = OverridesParser.create().parse_overrides([found])
    assert override.value() == str(tmp_path / name)
