"""The defaults fit a run of any length."""

import jax
import pytest

from runner.cli.commands import configure
from runner.experiment.build import build


def built(*overrides):
    return build(configure(*overrides), jax.devices("cpu")[0])


def test_the_default_run_has_four_cycles_of_ten_epochs_and_twenty_evaluations():
    experiment = built()
    assert list(experiment.schedule.cycle_ends(880)) == [220, 440, 660, 880]
    assert experiment.lengths.eval_every == 44


@pytest.mark.parametrize("epochs", range(1, 10))
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
