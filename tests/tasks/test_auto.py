"""``scheduler=auto``: training with the rates that a range test finds, and resuming it."""

import json
import os
import shutil
import signal
from dataclasses import replace

import jax
import pytest
import yaml
from tensorboard_reading import scalars

from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.experiment import range_test
from runner.experiment.build import build
from runner.ranges import Answer, Spread
from runner.records import range_record
from runner.records.checkpoints import Checkpoints
from runner.records.range_record import EarlierAnswer
from runner.report.console import open_console
from runner.tasks.automatic import with_found_rates

SHORT = ("model=linear", "training.epochs=6", "training.eval_every=null")
AUTO = ("scheduler=auto", "scheduler.range_test.seeds=2", *SHORT)
NO_ANSWER = ("scheduler.range_test.start_lr=1e3", "scheduler.range_test.end_lr=1e6")


@pytest.fixture
def auto(run):
    return lambda *overrides, **names: run(*AUTO, *overrides, **names)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("triangular2", "max_lr"),
        pytest.param("one_cycle", "max_lr", marks=pytest.mark.slow),
        pytest.param("cosine", "base_lr", marks=pytest.mark.slow),
        pytest.param("wsd", "base_lr", marks=pytest.mark.slow),
    ],
)
def test_the_policy_is_trained_at_the_rates_found_as_if_there_had_been_no_test(
    auto, run, summary, policy, name
):
    """The run with the suggested option has no range test, and ends with the same parameters."""
    code, folder = auto(f"scheduler.policy={policy}")
    assert code == 0
    found = yaml.safe_load((folder / "scheduler" / "suggested.yaml").read_text())
    answer = json.loads((folder / "range_test.json").read_text())["answer"]
    assert found[name] == pytest.approx(answer["max_lr"], rel=5e-3)
    rates = scalars(folder)["schedule/lr"][1]
    assert max(rates) <= found[name] * (1 + 1e-6)
    assert max(rates) > 0.4 * found[name]
    code, alone = run("--config-dir", str(folder), "scheduler=suggested", *SHORT, name="alone")
    assert code == 0
    assert summary(alone)["params_sha256"] == summary(folder)["params_sha256"]
    assert {path.name for path in folder.iterdir()} >= {"range_test.csv", "range_test.png"}


@pytest.mark.slow
def test_the_answer_is_printed_in_two_lines(auto, capsys):
    auto()
    lines = [line for line in capsys.readouterr().out.splitlines() if "range test" in line]
    assert lines[0] == "range test: 2 seeds of 79 updates at rates from 1e-07 to 10"
    assert lines[1].startswith("range test: base_lr ")
    assert len(lines) == 2


@pytest.mark.slow
def test_a_run_that_died_in_the_test_repeats_it_and_one_that_trained_does_not(
    auto, run, summary, capsys
):
    chunks = "checkpoint.every=40", "training.chunk=40", "checkpoint.keep=9"
    _, whole = auto(*chunks, name="whole")
    capsys.readouterr()
    for name, keeps in {"tested": (), "trained": (40, 80)}.items():
        folder = whole.parent / name
        shutil.copytree(whole, folder)
        (folder / "summary.json").unlink()
        for step in Checkpoints(folder).steps():
            if step not in keeps:
                shutil.rmtree(folder / "checkpoints" / str(step))
        if not keeps:  # the result is written last
            (folder / "range_test.json").unlink()
        code, _ = run(f"resume={folder}")
        assert code == 0
        assert ("2 seeds of" in capsys.readouterr().out) == (not keeps)
        assert summary(folder)["params_sha256"] == summary(whole)["params_sha256"]
        for file in ("range_test.csv", "scheduler/suggested.yaml", "range_test.json"):
            assert (folder / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.slow
def test_the_settings_of_a_test_that_was_made_cannot_change(auto, run, capsys):
    _, folder = auto()
    (folder / "summary.json").unlink()
    capsys.readouterr()
    code, _ = run(f"resume={folder}", "scheduler.range_test.end_lr=1", "resume_changes=true")
    assert code == 2
    error = capsys.readouterr().err
    assert "scheduler.range_test.end_lr: the range test of this run was made with 10" in error
    assert error.count("\n") == 1
    assert run(f"resume={folder}", "training.epochs=7")[0] == 0


@pytest.mark.slow
def test_a_run_that_is_made_longer_keeps_its_cycles(auto, run):
    _, folder = auto()
    before = scalars(folder)["schedule/cycle"][1]
    code, _ = run(f"resume={folder}", "training.epochs=9")
    assert code == 0
    cycles = scalars(folder)["schedule/cycle"][1]
    length = before.index(1) if 1 in before else len(before)
    assert cycles == [step // length for step in range(9 * 22)]


@pytest.mark.slow
def test_a_damaged_result_is_found_again(auto, run, summary):
    _, folder = auto()
    for step in Checkpoints(folder).steps():
        shutil.rmtree(folder / "checkpoints" / str(step))
    sha256 = summary(folder)["params_sha256"]
    for damage in ("[]", '{"answer": {"max_lr": "high"}, "steps": 132}'):
        (folder / "range_test.json").write_text(damage)
        (folder / "summary.json").unlink()
        assert run(f"resume={folder}")[0] == 0
        assert summary(folder)["params_sha256"] == sha256
        shutil.rmtree(folder / "checkpoints")


def found_rates(monkeypatch, tmp_path, *overrides, steps):
    """The experiment of a resumed run whose range test was for a run of ``steps``."""
    spread = Spread(0.01, 0.02)
    answer = Answer(0.02, 0.4, 9.0, spread, spread, reasons=())
    monkeypatch.setattr(range_record, "read_result", lambda _: EarlierAnswer(answer, steps))
    config = configure(*AUTO, *overrides)
    experiment = build(replace(config, resume=str(tmp_path)), jax.devices("cpu")[0])
    return with_found_rates(experiment, tmp_path, open_console(), None)


@pytest.mark.parametrize("steps", [132, 264])
def test_the_cycles_of_a_resumed_run_are_those_of_the_run_that_was_tested(
    monkeypatch, tmp_path, steps
):
    """Four cycles in the run that was tested, whatever the length of this one."""
    found = found_rates(monkeypatch, tmp_path, steps=steps)
    assert found.lengths.steps == 132
    assert int(found.schedule.step_size_up) == pytest.approx(steps / 8, abs=1)
    settings = found.config.scheduler.settings
    assert (settings.base_lr, settings.max_lr) == (0.02, 0.4)


def test_lengths_that_are_given_for_the_policy_are_kept(monkeypatch, tmp_path):
    given = "scheduler.settings={step_size_up: 7, step_size_down: 5}"
    schedule = found_rates(monkeypatch, tmp_path, given, steps=132).schedule
    assert (int(schedule.step_size_up), int(schedule.step_size_down)) == (7, 5)


def test_a_run_that_continues_a_saved_state_searches_for_no_rates(tmp_path):
    experiment = build(configure(*AUTO), jax.devices("cpu")[0])
    forked = replace(experiment, config=replace(experiment.config, init_from="run"))
    with pytest.raises(ConfigError, match=r"^init_from: a run that continues a saved state"):
        with_found_rates(forked, tmp_path, open_console(), None)


def test_a_signal_ends_the_test_and_leaves_no_result(auto, summary, monkeypatch):
    measure = range_test.measure

    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments)

    monkeypatch.setattr(range_test, "measure", stopped)
    code, folder = auto()
    assert code == 143
    assert summary(folder)["status"] == "stopped"
    assert summary(folder)["steps"] == 0
    assert not (folder / "range_test.json").exists()


@pytest.mark.slow
def test_groups_keep_their_ratios(auto):
    code, folder = auto(
        "model=mlp",
        "model.hidden=[8]",
        "optimizer.groups={head: Dense_1/*}",
        "scheduler.settings={max_lr: {head: 0.4, default: 0.1}, step_size_up: 1ep}",
    )
    assert code == 0
    found = yaml.safe_load((folder / "scheduler" / "suggested.yaml").read_text())
    assert found["max_lr"][0] == pytest.approx(4 * found["max_lr"][1])
    assert found["step_size_up"] == "1ep"
    rates = scalars(folder)
    head, rest = rates["schedule/lr/head"][1], rates["schedule/lr/default"][1]
    assert max(head) == pytest.approx(4 * max(rest))
    assert max(head) == pytest.approx(found["max_lr"][0])


def test_without_an_answer_nothing_is_trained(auto, summary, capsys):
    code, folder = auto(*NO_ANSWER)
    assert code == 2
    said = (
        "error: scheduler: the range test suggests no rates: the curve has fewer than 10 points; "
    )
    assert said in capsys.readouterr().err
    assert summary(folder)["status"] == "failed"
    assert (folder / "range_test.csv").exists()
    assert not (folder / "scheduler").exists()


def test_the_policy_is_that_of_its_option_with_changed_settings():
    config = configure("scheduler=auto", "scheduler.policy=one_cycle", "optimizer=adam")
    alone = configure("scheduler=one_cycle", "optimizer=adam")
    assert config.scheduler.settings == alone.scheduler.settings
    assert (config.scheduler.option, config.scheduler.name) == ("auto", "one_cycle")
    assert alone.auto is None
    settings = "scheduler.settings={pct_start: 0.2, anneal_strategy: linear}"
    changed = configure("scheduler=auto", "scheduler.policy=one_cycle", settings).scheduler.settings
    assert (changed.pct_start, changed.anneal_strategy) == (0.2, "linear")


@pytest.mark.slow
def test_a_check_shows_the_policy_and_says_that_its_rates_are_not_final(run, capsys, read_table):
    code, folder = run("task=check", "scheduler=auto", "scheduler.policy=one_cycle", *SHORT)
    assert code == 0
    said = "shown with the default rates of one_cycle; training starts with a range test"
    assert said in capsys.readouterr().out
    _, alone = run("task=check", "scheduler=one_cycle", *SHORT, name="alone")
    assert read_table(folder / "schedule.csv") == read_table(alone / "schedule.csv")
    assert not (folder / "range_test.csv").exists()


PART = "scheduler@scheduler.parts"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["scheduler=auto", "scheduler.policy=nope"], "scheduler.policy: there is no scheduler"),
        (["scheduler=auto", "scheduler.policy=auto"], "scheduler.policy: auto searches for rates"),
        (["scheduler=auto", "scheduler.max_lr=1"], "scheduler.max_lr: there is no such setting"),
        (
            ["scheduler=auto", "scheduler.settings={gama: 1}"],
            "scheduler.policy triangular: scheduler.gama: there is no such setting; did you mean",
        ),
        (
            ["scheduler=auto", "scheduler.range_test.start_lr=20"],
            "scheduler.range_test.start_lr: 20.0 is not below end_lr (10.0)",
        ),
        (
            ["scheduler=auto", "scheduler.range_test.seed=3"],
            "scheduler.range_test.seed: there is no such setting; did you mean seeds?",
        ),
        (
            ["scheduler=auto", "scheduler.range_test.over=momentum"],
            "scheduler.range_test.over: compares values of a setting",
        ),
        (["scheduler=sequence", f"{PART}.cycles=auto"], "scheduler.parts.cycles: auto finds the"),
        (["scheduler=chained", f"{PART}.decay=auto"], "scheduler.parts.decay: auto finds the"),
    ],
)
def test_what_cannot_be_found_is_refused_and_leaves_no_folder(run, capsys, overrides, said):
    code, folder = run(*SHORT, *overrides)
    assert code == 2
    assert f"error: {said}" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_state_takes_no_range_test_but_one_from_parameters_does(
    run, capsys
):
    _, saved = run(*SHORT, "checkpoint.every=20", name="saved")
    start = f"init_from={saved}", "scheduler=auto", "scheduler.range_test.seeds=2"
    code, _ = run(*start, name="state")
    assert code == 2
    assert "error: init_from: a run that continues a saved state already" in capsys.readouterr().err
    code, folder = run(*start, "init_params_only=true", "scheduler.range_test.steps=20", name="new")
    first = (folder / "range_test.csv").read_text().splitlines()[1]
    assert float(first.split(",")[3]) < 1  # an untrained model begins at 2.3
