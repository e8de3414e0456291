"""The defaults fit a run of any length."""

import jax
import pytest
from sampling import slow_except

from runner.cli.commands import configure
from runner.cli.sources import CONF
from runner.experiment.build import build
from runner.report.advice import warnings

OPTIONS = sorted(path.stem for path in (CONF / "scheduler").iterdir())
SAMPLE = ["cosine", "one_cycle", "sequence", "triangular", "wsd"]


def built(*overrides):
    return build(configure(*overrides), jax.devices("cpu")[0])


def test_the_default_run_has_four_cycles_of_ten_epochs_and_twenty_evaluations():
    experiment = built()
    assert list(experiment.schedule.cycle_ends(880)) == [220, 440, 660, 880]
    assert experiment.lengths.eval_every == 44


@pytest.mark.parametrize("epochs", slow_except([1, 4, 9], range(1, 10)))
def test_short_runs_have_whole_cycles_and_several_evaluations(epochs):
    experiment = built(f"training.epochs={epochs}", "model=linear")
    steps = experiment.lengths.steps
    assert steps == 22 * epochs
    assert 3 <= len(experiment.schedule.cycle_ends(steps)) <= 4
    assert 18 <= steps // experiment.lengths.eval_every <= 22


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_runs_of_a_few_steps_need_no_other_settings(steps):
    experiment = built(f"training.steps={steps}", "model=linear")
    assert experiment.lengths.eval_every == 1
    assert int(experiment.schedule.step_size_up) == 1


@pytest.mark.parametrize("option", ["triangular", "triangular_lr", "cosine_restarts", "step"])
def test_the_default_lengths_are_those_of_the_default_run(option):
    cycle = {"triangular": 220, "triangular_lr": 220, "cosine_restarts": 220}
    schedule = built(f"scheduler={option}", "model=linear").schedule
    if option == "step":
        assert int(schedule.step_size) == 330
    else:
        assert schedule.cycle_ends(880)[0] == cycle[option]


@pytest.mark.parametrize("length", ["2ep", "10ep", "0", "25%"])
def test_the_ramp_of_the_default_sequence_follows_the_length_of_its_part(length):
    lengths = [f"scheduler.lengths.warmup={length}"]
    experiment = built("scheduler=sequence", *lengths, "model=linear")
    steps = {"2ep": 44, "10ep": 220, "0": 0, "25%": 220}[length]
    rates = [float(experiment.schedule(step)) for step in range(steps + 2)]
    expected = [0.01 + 0.09 * step / max(steps, 1) for step in range(steps)]
    assert rates[:steps] == pytest.approx(expected, rel=1e-6)
    assert rates[steps] == pytest.approx(0.1)
    assert [line for line in warnings(experiment) if "jumps" in line or "parts" in line] == []


@pytest.mark.parametrize("option", slow_except(SAMPLE, OPTIONS))
def test_no_scheduler_gives_a_warning_by_default(option):
    assert warnings(built(f"scheduler={option}", "model=linear")) == []


CYCLIC = ["triangular", "triangular2", "exp_range", "cyclic", "triangular_lr", "auto"]


@pytest.mark.parametrize("epochs", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("option", slow_except(["triangular", "auto"], CYCLIC))
def test_default_cycles_that_rounding_makes_end_near_the_end_of_a_short_run_are_fine(
    option, epochs
):
    # Of 198 steps, 12.5% are 24.75: a half cycle has 25 steps, and the fourth cycle ends at 200.
    experiment = built(f"scheduler={option}", f"training.epochs={epochs}", "model=linear")
    assert warnings(experiment) == []


@pytest.mark.parametrize(
    ("half", "steps"),
    [
        ("25", 198),  # not a share: the user sees to it
        ("12.5%", 22),  # a half cycle of 3 steps, so step 21 is a peak
        ("13%", 198),  # 26 steps: the fourth cycle ends 10 steps after the run
    ],
)
def test_a_cycle_that_is_cut_off_by_more_than_rounding_gives_a_warning(half, steps):
    lengths = [f"scheduler.step_size_up={half}", f"training.steps={steps}"]
    experiment = built("scheduler=triangular", *lengths, "model=linear")
    cut_off = [line for line in warnings(experiment) if "in the middle of a cycle" in line]
    assert len(cut_off) == 1
