"""Numbers and lists that are close to what a setting takes: the error says what to write."""

import pytest

from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.experiment.schedule import Clock, build_schedule


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["scheduler=cosine_restarts", "scheduler.T_mult=2.0"],
            "scheduler.T_mult: 2.0 is not a whole number; write 2",
        ),
        (
            ["training.steps=1e3"],
            "training.steps: 1000.0 is not a length; write 1000, without a decimal point or "
            "exponent",
        ),
        (
            ["scheduler=step", "scheduler.step_size=2.5"],
            "scheduler.step_size: 2.5 is not a length; write steps (500), epochs (4ep) or a share "
            "of the run (25%)",
        ),
        (
            ["scheduler=multistep", "scheduler.milestones=[]"],
            "scheduler.milestones: [] is not a list of lengths; write one such as [500,800] or "
            "[50%,75%]",
        ),
    ],
)
def test_a_near_miss_is_answered_with_what_to_write(overrides, message):
    with pytest.raises(ConfigError) as caught:
        configure(*overrides)
    assert str(caught.value) == message


def test_steps_and_shares_of_a_list_are_compared_once_the_run_has_a_length():
    config = configure("scheduler=multistep", "scheduler.milestones=[50%,300]")
    clock = Clock(steps_per_epoch=22, total_steps=500)
    assert build_schedule(config.scheduler, clock).milestones.tolist() == [250, 300]
    with pytest.raises(ConfigError, match="300 is not greater than 400"):
        build_schedule(config.scheduler, Clock(steps_per_epoch=22, total_steps=800))


@pytest.mark.slow
@pytest.mark.parametrize("zero", ["0", "0ep", "0%"])
@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("warmup_cosine", "warmup_steps"),
        ("sequence", "lengths.warmup"),
        ("wsd", "warmup"),
        ("linear", "total_iters"),
        ("cosine_restarts", "warmup"),
        ("inverse_sqrt", "warmup"),
    ],
)
def test_a_warm_up_may_have_no_steps(option, key, zero):
    more = ["scheduler.timescale=100"] if option == "inverse_sqrt" else []
    config = configure(f"scheduler={option}", f"scheduler.{key}={zero}", *more)
    schedule = build_schedule(config.scheduler, Clock(22, 880))
    plain = {"linear": 0.1, "warmup_cosine": 0.2}.get(option, 0.1)
    assert float(schedule(0)) == pytest.approx(plain, rel=1e-3)
