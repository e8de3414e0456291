"""``task=check``: its table against the formula, its plot, and what it prints."""

import time
from fractions import Fraction
from itertools import pairwise

import jax
import pytest
from PIL import Image

from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.experiment import timeline
from runner.experiment.build import build
from runner.schedules import CyclicLR


@pytest.fixture
def check(run):
    return lambda *overrides, **names: run("task=check", *overrides, **names)


def test_the_table_is_the_formula_at_every_step(check, read_table):
    code, folder = check(
        "scheduler=triangular2",
        "scheduler.step_size_up=4",
        "scheduler.step_size_down=12",
        "scheduler.base_lr=0.001",
        "scheduler.max_lr=0.009",
        "training.steps=48",
    )
    assert code == 0
    header, *rows = read_table(folder / "schedule.csv")
    assert header == ["step", "lr", "momentum", "cycle"]
    assert len(rows) == 48
    for step, (number, rate, momentum, cycle) in enumerate(rows):
        r = step % 16
        share = Fraction(r, 4) if r <= 4 else Fraction(16 - r, 12)
        exact = Fraction("0.001") + Fraction("0.008") * share / 2 ** (step // 16)
        assert int(number) == step
        assert abs(Fraction(rate) / exact - 1) < Fraction(5, 10**7)
        assert momentum == ""
        assert int(cycle) == step // 16


def test_a_table_computed_in_blocks_is_the_same(check, monkeypatch):
    _, whole = check("training.steps=50", name="whole")
    monkeypatch.setattr(timeline, "_BLOCK", 7)
    _, pieces = check("training.steps=50", name="pieces")
    assert (whole / "schedule.csv").read_bytes() == (pieces / "schedule.csv").read_bytes()


@pytest.mark.parametrize(
    "most", [10_000, pytest.param(timeline.MOST_STEPS, marks=pytest.mark.slow)]
)
def test_the_longest_run_has_a_sampled_table_within_seconds(
    check, read_table, capsys, monkeypatch, most
):
    """2³¹ - 1 steps in cycles of 10,000,000 steps, 214 of which end within the run."""
    monkeypatch.setattr(timeline, "MOST_STEPS", most)
    cycle = "scheduler.step_size_up=4000000", "scheduler.step_size_down=6000000"
    started = time.perf_counter()
    code, folder = check("training.steps=2147483647", *cycle)
    assert code == 0
    assert time.perf_counter() - started < 60  # of which the machine may be busy with other work
    _, *rows = read_table(folder / "schedule.csv")
    assert 0.99 * most < len(rows) <= most
    rates = {int(step): float(rate) for step, rate, _, _ in rows}
    assert list(rates) == sorted(rates)
    assert rates.keys() >= {0, 1, 2, 2**31 - 4, 2**31 - 3, 2**31 - 2}
    for cycle in range(214):
        assert rates[10_000_000 * cycle + 4_000_000] == pytest.approx(0.2)
        assert rates[10_000_000 * (cycle + 1)] == pytest.approx(0.01)
    assert max(after - before for before, after in pairwise(rates)) < 5_000 * 1_000_000 / most
    said = f"the table has {len(rows):,} of the 2,147,483,647 steps"
    assert said in capsys.readouterr().out


def test_a_sample_has_every_cycle_end_and_phase_change_where_they_fit(monkeypatch):
    schedule = CyclicLR(step_size_up=30, step_size_down=70)
    monkeypatch.setattr(timeline, "MOST_STEPS", 400)
    steps = timeline.sampled_steps(schedule, 10_000).tolist()
    assert set(range(100, 10_000, 100)) | set(range(30, 10_000, 100)) < set(steps)
    assert 350 <= len(steps) <= 400
    shorter = timeline.sampled_steps(schedule, 401).tolist()
    assert set(shorter) < set(range(401))
    assert (shorter[0], shorter[-1]) == (0, 400)
    # 10,000 cycles do not fit: some of their ends and peaks, over the whole run.
    longer = set(timeline.sampled_steps(schedule, 1_000_000).tolist())
    assert 350 <= len(longer) <= 400
    for found in (longer & set(range(100, 10**6, 100)), longer & set(range(30, 10**6, 100))):
        assert len(found) >= 90
        assert max(found) > 980_000


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        # The second cycle is scaled by zero, the third, from step 40 on, by minus one.
        (
            [
                "scheduler.scale_fn='2 - x'",
                "scheduler.base_lr=[0.1,0]",
                "scheduler.max_lr=[0.1,0.5]",
                "optimizer.groups={still: Dense_0/*}",
            ],
            "the rate of the group default is -0.05 at step 41",
        ),
        (
            ["scheduler.scale_fn='1 / (x - 25) ** 2'", "scheduler.scale_mode=iterations"],
            "the rate is inf at step 25",
        ),
    ],
)
def test_the_first_invalid_rate_is_named(overrides, said, monkeypatch):
    monkeypatch.setattr(timeline, "_BLOCK", 17)
    cycle = ("scheduler=cyclic", "scheduler.step_size_up=10", "training.steps=60")
    experiment = build(configure(*cycle, *overrides), jax.devices("cpu")[0])
    with pytest.raises(ConfigError, match=rf"^scheduler: {said}; "):
        timeline.compute_timeline(experiment)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["check", "train"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["scheduler=exp_range", "scheduler.gamma=1e38"],
            "the rate is inf at step 2; change gamma, the bounds or the multiplier: ",
        ),
        (
            [
                "scheduler=chained",
                "scheduler@scheduler.parts.decay=exponential",
                "scheduler.parts.decay.gamma=1e30",
            ],
            "the rate is inf at step 2; change parts.decay.gamma, the bounds or the multiplier: ",
        ),
        (
            ["scheduler=polynomial", "scheduler.power=1e38"],
            "the rate is 0 at every step",
        ),
        (
            ["scheduler=cyclic", "scheduler.scale_fn='1 / (x - 1)'"],
            "the rate is nan at step 0; change scale_fn, the bounds or the multiplier: ",
        ),
        (
            ["optimizer.multiplier=1e30", "scheduler.max_lr=1e30"],
            "the rate is inf at step 1; change the bounds or the multiplier: ",
        ),
    ],
)
def test_an_impossible_rate_is_refused_by_what_makes_it_and_leaves_no_folder(
    run, capsys, task, overrides, said
):
    code, folder = run(f"task={task}", "model=linear", *overrides)
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: scheduler: {said}")
    assert ("scale_fn" in error) == any("scale_fn" in override for override in overrides)
    assert not folder.exists()


def test_no_training_takes_place_and_the_picture_can_be_opened(check):
    _, folder = check()
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".hydra", "schedule.csv", "schedule.png"]
    with Image.open(folder / "schedule.png") as picture:
        assert picture.width >= 800


def test_shapes_sizes_lengths_and_memory_are_printed(check, capsys):
    check("model.hidden=[32]", "training.epochs=20", "scheduler.step_size_up=5ep")
    text = " ".join(capsys.readouterr().out.split())
    assert "440 steps, 20 epochs of 22 steps" in text
    assert "2 whole cycles" in text
    assert "2,410 parameters" in text  # 64·32 + 32 + 32·10 + 10
    assert "Dense_0/kernel 64×32" in text
    assert "triangular" in text


def test_a_plot_of_another_run_is_not_overwritten(check, capsys):
    code, folder = check()
    before = (folder / "schedule.csv").read_bytes()
    code, _ = check("training.epochs=1")
    assert code == 2
    assert (folder / "schedule.csv").read_bytes() == before
    assert "already holds a run" in capsys.readouterr().err


def test_warnings_name_key_and_remedy(check, capsys):
    check("training.steps=300", "scheduler.step_size_up=30", "scheduler.max_lr=9")
    text = capsys.readouterr().out
    assert "scheduler.step_size_up: 1.36 epochs" in text
    assert "scheduler.max_lr: 9 is 900 times base_lr 0.01" in text
    check("training.steps=290", "scheduler.step_size_up=5ep", name="other")
    assert "training.steps=220 or training.steps=440" in capsys.readouterr().out
