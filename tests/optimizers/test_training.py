"""Every optimizer trains from the command line, or reports that it has no momentum to cycle."""

import json
from pathlib import Path

import pytest
from optimizer_cases import all_refused
from sampling import slow_except

from runner.cli import main
from runner.registry import optimizers

SHORT = ["model=linear", "training.batch_size=128", "training.eval_every=null"]
CYCLED = "scheduler.cycle_momentum=true"
# Other tests train with sgd.
SAMPLE = ["adam"]
OTHERS = ["constant", "cosine", "one_cycle", "piecewise", "sequence", "step", "wsd"]
REFUSED = all_refused()
# Each optimizer with the default schedule, and adam with others.
LEARNING = [[f"optimizer={name}"] for name in sorted(optimizers.names())]
LEARNING += [["optimizer=adam", f"scheduler={name}"] for name in OTHERS]


@pytest.mark.parametrize("name", slow_except(SAMPLE, sorted(optimizers.names())))
def test_every_optimizer_takes_three_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = ["training.steps=3", "scheduler.base_lr=0.0001", "scheduler.max_lr=0.001"]
    assert main([f"optimizer={name}", *steps, *SHORT, "hydra.run.dir=run"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 3)


@pytest.mark.parametrize("chosen", slow_except([["optimizer=adam"]], LEARNING), ids=" ".join)
def test_every_optimizer_learns_with_the_default_rates(
    chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*chosen, "training.epochs=10", "checkpoint.every=null", "hydra.run.dir=run"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    # At the default rates of sgd, adam ends between 0.1 and 0.84 with most schedules.
    assert summary["metrics"]["eval/accuracy"] >= 0.85


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (["optimizer=adagrad"], "the optimizer adagrad has no momentum"),
        (["optimizer=adadelta"], "the optimizer adadelta has no momentum"),
        (["optimizer=schedule_free_sgd"], "the optimizer schedule_free_sgd has no momentum"),
        (["optimizer=schedule_free_adamw"], "the optimizer schedule_free_adamw has no momentum"),
        (["optimizer=rmsprop"], "optimizer.momentum is null"),
        (["optimizer=adafactor"], "optimizer.momentum is null"),
        (["optimizer.momentum=null"], "optimizer.momentum is null"),
        (["optimizer.momentum=0"], "optimizer.momentum is 0.0"),
    ],
)
def test_cycle_momentum_needs_a_momentum(
    chosen: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*chosen, CYCLED]) == 2
    assert capsys.readouterr().err.startswith(f"error: scheduler.cycle_momentum: true, but {says}")


@pytest.mark.parametrize("refused", slow_except(REFUSED[::3], REFUSED))
def test_a_number_out_of_range_gives_one_line(
    refused: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    override, key = refused
    assert main(override.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: optimizer.{key}: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ("training.ema_decay=0.9", "training.ema_decay"),
        ("optimizer.lookahead.sync_period=5", "optimizer.lookahead.sync_period"),
    ],
)
def test_an_optimizer_that_averages_its_parameters_itself_takes_no_other_average(
    chosen: str,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["optimizer=schedule_free_sgd", chosen]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {key}: ")
    assert "schedule_free_sgd averages its parameters itself" in said
