"""From the configured scheduler to the schedule: lengths, parts, and every option in a run."""

import numpy as np
import pytest
from sampling import slow_except

from runner.cli.commands import configure
from runner.cli.sources import CONF
from runner.errors import ConfigError
from runner.experiment.schedule import Clock, build_schedule

OPTIONS = sorted(path.stem for path in (CONF / "scheduler").iterdir())
SAMPLE = ["sequence"]
SAMPLE_OF_PARTS = ["constant", "cosine_restarts", "one_cycle", "triangular2"]
# Settings of options that need more than three steps.
MORE = {
    "inverse_sqrt": ["scheduler.warmup=1"],
    "one_cycle": ["scheduler.total_steps=10"],
    "piecewise": ["scheduler.boundaries=[1,2]"],
}


def built(*overrides, steps_per_epoch=20, total_steps=800):
    scheduler = configure(*overrides).scheduler
    return build_schedule(scheduler, Clock(steps_per_epoch, total_steps))


@pytest.mark.slow
@pytest.mark.parametrize("option", slow_except(SAMPLE, OPTIONS))
def test_every_option_trains(run, summary, option):
    short = ["model=linear", "training.steps=3", "training.eval_every=null"]
    code, folder = run(f"scheduler={option}", *short, *MORE.get(option, []))
    assert code == 0
    assert summary(folder)["steps"] == 3


# A sequence holds no other one, and what depends on evaluations or a range test is not a part.
NOT_PARTS = ("sequence", "reduce_on_plateau", "auto")
PARTS = [option for option in OPTIONS if option not in NOT_PARTS]


@pytest.mark.slow
@pytest.mark.parametrize("option", slow_except(SAMPLE_OF_PARTS, PARTS))
def test_every_option_can_be_a_part(option):
    schedule = built("scheduler=sequence", f"scheduler@scheduler.parts.cycles={option}")
    alone = built(f"scheduler={option}", total_steps=600)
    np.testing.assert_allclose(schedule(np.arange(200, 800)), alone(np.arange(600)), rtol=3e-7)


def test_lengths_are_resolved_to_steps_also_in_lists():
    schedule = built("scheduler=multistep", "scheduler.milestones=[30,2ep,50%]")
    np.testing.assert_array_equal(schedule.milestones, [30, 40, 400])
    with pytest.raises(ConfigError, match=r"^scheduler\.milestones\[1\]: '0.01%' resolves to 0"):
        built("scheduler=multistep", "scheduler.milestones=[30,0.01%]")


def test_the_length_of_a_run_is_the_default_length():
    np.testing.assert_array_equal(built("scheduler=cosine").T_max, 800)
    assert list(built("scheduler=one_cycle").cycle_ends(10**6)) == [800]


RAMP = ["scheduler.parts.warmup.total_iters=50%"]


def test_a_share_in_a_part_is_of_the_length_of_the_part():
    schedule = built("scheduler=sequence", "scheduler.parts.cycles.T_0=25%", *RAMP)
    warmup, cycles = schedule.parts
    assert (int(warmup.total_iters), int(cycles.T_0)) == (100, 150)


def test_parts_are_added_on_the_command_line_and_come_last():
    schedule = built(
        "scheduler=sequence",
        "+scheduler@scheduler.parts.end=constant",
        "scheduler.lengths.cycles=20ep",
        "+scheduler.lengths.end=null",
    )
    np.testing.assert_array_equal(schedule.starts, [0, 200, 600])
    assert float(schedule(600)) == np.float32(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler.lengths.warmup=40ep"], r"^scheduler\.lengths: .* take 800 .* only 800 are"),
        (["scheduler.lengths.warmup=50ep"], r"^scheduler\.lengths: .* take 1000 .* only 800 are"),
        (["scheduler.lengths.cycles=601"], r"^scheduler\.lengths: .* take 801 .* only 800 are"),
        (["scheduler.lengths.warmup=0.01%"], r"^scheduler\.lengths\.warmup: '0.01%' resolves to 0"),
        (["scheduler.lengths.warmup=null"], r"^scheduler\.lengths\.warmup: .*last part \(cycles\)"),
        (["+scheduler.lengths.end=3"], r"^scheduler\.lengths\.end: there is no such part"),
        (["scheduler.parts.cycles.eta_min=1"], r"^scheduler\.parts\.cycles\.eta_min: 1.0 is"),
        (["scheduler.parts.cycles.T_mult=x"], r"^scheduler\.parts\.cycles\.T_mult: 'x' is not"),
        (["scheduler.parts.cycles.name=tri"], r"^scheduler\.parts\.cycles\.name: there is no"),
        (["scheduler.parts.cycles=3"], r"^scheduler\.parts\.cycles"),
        (
            ["scheduler@scheduler.parts.cycles=one_cycle", "scheduler.parts.cycles.total_steps=3"],
            r"^scheduler\.parts\.cycles\.",
        ),
    ],
)
def test_an_error_in_a_sequence_names_the_key_of_the_part(overrides, message):
    with pytest.raises(ConfigError, match=message):
        built("scheduler=sequence", *overrides)


def test_a_sequence_as_long_as_the_run_fits():
    assert built("scheduler=sequence", "scheduler.lengths.cycles=600").starts.tolist() == [0, 200]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["scheduler=sequence", "scheduler.lengths.warmup=50ep"],
            "error: scheduler.lengths: the parts before the last take 1100 steps, but only 880 are "
            "available; write shorter lengths, or a longer run",
        ),
        (
            ["scheduler=one_cycle", "training.steps=3"],
            "error: scheduler.total_steps: 3 is too short: the peak would be at step -0.1; write "
            "at least 4, or pct_start above 0.333",
        ),
        (
            [
                "optimizer.groups={a: Dense_0/*, b: Dense_1/*}",
                "scheduler.base_lr=[0.1,0.2]",
                "scheduler.max_lr=[1,2,3]",
            ],
            "error: scheduler.max_lr: 3 rates, but base_lr has 2; write one for each group in "
            "both, or a number for all groups",
        ),
        (
            ["scheduler.base_lr=[0.01,0.02]"],
            "error: scheduler.base_lr: 2 numbers, but there is one group of parameters; write a "
            "number, or set optimizer.groups",
        ),
        (
            [
                "scheduler=sequence",
                "scheduler@scheduler.parts.cycles=one_cycle",
                "optimizer.momentum=null",
            ],
            "error: scheduler.parts.cycles.cycle_momentum: true, but optimizer.momentum is null; "
            "set optimizer.momentum (0.9), or scheduler.parts.cycles.cycle_momentum=false",
        ),
    ],
)
def test_a_setting_that_does_not_fit_the_run_gives_one_line(run, capsys, overrides, line):
    code, _ = run(*overrides)
    assert (code, capsys.readouterr().err.strip()) == (2, line)
