"""Every optimizer trains from the command line, or reports that it has no momentum to cycle."""

import json
from pathlib import Path

import pytest
from optimizer_cases import all_refused
from sampling import slow_except

from runner.cli import main
from runner.registry import optimizers, rate_scale_of

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


@pytest.mark.slow
@pytest.mark.parametrize("chosen", slow_except([["optimizer=adam"]], LEARNING), ids=" ".join)
def test_every_optimizer_learns_with_the_default_rates(
    chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*chosen, "training.epochs=10", "checkpoint.every=null", "hydra.run.dir=run"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    # At the default rates of sgd, adam ends between 0.1 and 0.84 with most schedules.
    assert summary["metrics"]["eval/accuracy"] >= 0.85


# The rate of an update whose size is that of the rate: Kingma and Ba's, and Hinton's for RMSProp.
ADAMS = ["adam", "adamw", "nadam", "nadamw", "amsgrad", "adamax", "radam", "adabelief", "yogi"]
USUAL = dict.fromkeys([*ADAMS, "adan", "adopt", "ademamix", "rmsprop"], 0.001)
# Defaults of the papers or of PyTorch, and for signs a third of Adam's (Chen et al. 2023).
USUAL |= {"sgd": 0.1, "adagrad": 0.1, "sm3": 0.1, "signum": 0.0003, "lion": 0.0003}
USUAL |= {"adadelta": 1.0, "prodigy": 1.0, "adafactor": 0.01, "madgrad": 0.01, "novograd": 0.01}
USUAL |= {"fromage": 0.01, "muon": 0.01, "lamb": 0.003, "lars": 3.0}
USUAL |= {"schedule_free_sgd": 0.3, "schedule_free_adamw": 0.003}


def test_the_default_rate_is_the_usual_one_of_each_optimizer() -> None:
    names = {*optimizers.names()} - {*optimizers.plugins()}
    assert {name: round(0.1 * rate_scale_of(name), 12) for name in names} == USUAL


@pytest.mark.slow
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


@pytest.mark.slow
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
