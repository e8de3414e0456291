"""Hydra's plugins for launching and for searching, with the packages themselves."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from runner.cli import main

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

# README's command does not install the packages; the slow set has them.
pytestmark = pytest.mark.slow

SHORT = ["-m", "model=linear", "training.steps=30", "training.eval_every=10", "hydra.sweep.dir=s"]
OPTUNA = [*SHORT, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]


@pytest.fixture
def joblib() -> list[str]:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the joblib extra")
    return ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture
def optuna() -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the optuna extra")


def summaries(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/summary.json"))]


@pytest.mark.usefixtures("optuna")
def test_a_search_maximises_the_metric_that_ranks_evaluations(
    run_cli: CommandLine, tmp_path: Path
) -> None:
    done = run_cli(*OPTUNA, "scheduler.max_lr=interval(0.01,0.5)", "seed=choice(1,2)")

    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "s")
    assert len(found) == 3
    best = yaml.safe_load((tmp_path / "s/optimization_results.yaml").read_text())
    assert best["best_value"] == max(each["best"]["value"] for each in found)
    assert {each["best"]["metric"] for each in found} == {"eval/accuracy"}


@pytest.mark.usefixtures("optuna")
def test_a_search_minimises_the_loss_if_that_is_the_metric(
    run_cli: CommandLine, tmp_path: Path
) -> None:
    done = run_cli(*OPTUNA, "metric=eval/loss", "seed=range(0,9)")

    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "s")
    best = yaml.safe_load((tmp_path / "s/optimization_results.yaml").read_text())
    assert best["best_value"] == min(each["best"]["value"] for each in found)
    assert {each["best"]["metric"] for each in found} == {"eval/loss"}


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("eval/accuracy", "minimize"),
        ("eval/loss", "maximize"),
        ("eval/loss", "[minimize,maximize]"),
    ],
)
@pytest.mark.usefixtures("optuna")
def test_a_direction_that_contradicts_the_metric_is_refused(
    metric: str,
    direction: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = [f"metric={metric}", f"hydra.sweeper.direction={direction}"]
    assert main([*OPTUNA, *told, "seed=range(0,9)"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: hydra.sweeper.direction: ")
    assert f"contradicts metric={metric}" in said
    assert list(tmp_path.iterdir()) == []


def test_joblib_runs_jobs_in_processes_of_their_own(
    joblib: list[str], run_cli: CommandLine, tmp_path: Path
) -> None:
    done = run_cli(*SHORT, *joblib, "seed=1,2", "scheduler.max_lr=0.1,1e30")

    # The rates of two jobs are too high, and the first one's exit code is the multirun's.
    assert done.returncode == 5, done.stderr
    assert "error: job 1 (" in done.stderr
    found = summaries(tmp_path / "s")
    assert [each["seed"] for each in found] == [1, 1, 2, 2]
    assert [each["status"] for each in found] == ["finished", "diverged"] * 2


@pytest.mark.usefixtures("joblib")
def test_a_file_may_choose_the_launcher_and_its_numbers(
    run_cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "defaults: [config, {override hydra/launcher: joblib}, _self_]\n"
        "hydra: {launcher: {n_jobs: 2}}\n"
    )
    done = run_cli("-cd", ".", "-cn", "mine", *SHORT, "seed=1,2")

    assert done.returncode == 0, done.stderr
    assert [each["seed"] for each in summaries(tmp_path / "s")] == [1, 2]
    recorded = yaml.safe_load(next(tmp_path.glob("s/1_*/.hydra/hydra.yaml")).read_text())
    launcher = recorded["hydra"]["launcher"]
    assert launcher["_target_"].endswith("JoblibLauncher")
    assert launcher["n_jobs"] == 2


@pytest.mark.usefixtures("optuna")
def test_a_search_runs_in_processes_of_joblib(
    joblib: list[str], run_cli: CommandLine, tmp_path: Path
) -> None:
    done = run_cli(*OPTUNA, *joblib, "hydra.sweeper.n_jobs=2", "seed=range(0,9)")

    assert done.returncode == 0, done.stderr
    assert len(summaries(tmp_path / "s")) == 3
