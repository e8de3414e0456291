"""Runs that depend on their evaluations: early stopping, reduced rates, ends of cycles."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runner.cli import main

SHORT = ("model=linear", "training.epochs=6", "training.eval_every=11", "training.log_every=11")


def test_training_stops_after_the_evaluations_that_it_waits_for(run, summary):
    """A tiny rate never improves: the first evaluation is the best, three more are waited for."""
    tiny = ("scheduler=constant", "scheduler.base_lr=1e-30")
    code, folder = run(*SHORT, *tiny, "training.patience=3")
    assert code == 0
    found = summary(folder)
    assert (found["status"], found["steps"]) == ("finished", 44)
    assert "test/accuracy" in found["metrics"]
    assert main([f"resume={folder}"]) == 0  # it is over
    assert summary(folder) == found


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", ["scan", "step"])  # within chunks, and each on its own
def test_the_state_of_the_best_evaluation_is_kept_wherever_it_is_in_the_run(run, summary, dispatch):
    """A tiny rate never improves, so that the first of four evaluations is the best."""
    tiny = ("scheduler=constant", "scheduler.base_lr=1e-30", "training.epochs=2")
    saves = ("checkpoint.every=1000", f"training.dispatch={dispatch}")
    code, folder = run(*SHORT, *tiny, *saves)
    assert code == 0
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["11", "44"]
    assert summary(folder)["checkpoint"]["best"] == "checkpoints/11"


@pytest.mark.slow
def test_a_reduced_rate_survives_a_resume(run, summary):
    lines = ("scheduler=reduce_on_plateau", "scheduler.patience=0", "scheduler.threshold=0.5")
    _, whole = run(*SHORT, *lines, name="whole")
    _, parted = run(*SHORT, *lines, "training.epochs=3", name="parted")
    assert main([f"resume={parted}", "training.epochs=6"]) == 0
    assert summary(parted)["params_sha256"] == summary(whole)["params_sha256"]


def test_evaluations_may_also_be_at_the_ends_of_cycles(run):
    cycles = ("scheduler.step_size_up=10", "scheduler.step_size_down=15")
    code, folder = run(
        *SHORT, *cycles, "training.eval_at_cycle_end=true", "training.eval_every=50%"
    )
    assert code == 0
    events = EventAccumulator(str(folder))
    events.Reload()
    found = [event.step for event in events.Scalars("eval/loss")]
    assert found == [25, 50, 66, 75, 100, 125, 132]


def test_a_schedule_that_observes_evaluations_is_not_a_part(run, capfd):
    part = "scheduler.parts.decay={name: reduce_on_plateau, base_lr: 0.1}"
    assert run("scheduler=sequence", f"+{part}")[0] == 2
    assert "reduce_on_plateau depends on evaluations" in capfd.readouterr().err
