"""``task=check``: its table against the formula, its plot, and what it prints."""

from fractions import Fraction

import jax
import pytest
from PIL import Image

from runner.cli.commands import configure
from runner.errors import ConfigError
from runner.experiment import timeline
from runner.experiment.build import build


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


def test_a_long_table_is_written_in_blocks(check, monkeypatch):
    _, whole = check("training.steps=50", name="whole")
    monkeypatch.setattr(timeline, "MOST_STEPS", 17)
    monkeypatch.setattr(timeline, "_BLOCK", 7)
    _, pieces = check("training.steps=50", name="pieces")
    assert (whole / "schedule.csv").read_bytes() == (pieces / "schedule.csv").read_bytes()


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
    monkeypatch.setattr(timeline, "MOST_STEPS", 17)
    cycle = ("scheduler=cyclic", "scheduler.step_size_up=10", "training.steps=60")
    experiment = build(configure(*cycle, *overrides), jax.devices("cpu")[0])
    with pytest.raises(ConfigError, match=rf"^scheduler: {said}; "):
        list(timeline.schedule_blocks(experiment))


def test_no_training_takes_place_and_the_picture_can_be_opened(check):
    _, folder = check()
    names = sorted(path.name for path in folder.iterdir())
    assert names == [".hydra", "schedule.csv", "schedule.png"]
    with Image.open(folder / "schedule.png") as picture:
        assert picture.width >= 800


def test_shapes_sizes_lengths_and_memory_are_printed(check, capsys):
    check("model.hidden=[32]", "training.epochs=20")
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
    check("training.steps=290", name="other")
    assert "training.steps=220 or training.steps=440" in capsys.readouterr().out
