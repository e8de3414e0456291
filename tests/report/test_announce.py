"""The lines before a run and the table of task=check, also on a narrow terminal."""

import io

import jax
import pytest
from rich.console import Console

from runner.cli.commands import configure
from runner.experiment import timeline
from runner.experiment.build import build
from runner.report.advice import warnings
from runner.report.announce import announce, print_command, print_line
from runner.report.inventory import inventory
from runner.report.text import counted, metric_value, pace

LINE = "warning: training: the run of 290 steps ends in the middle of a cycle, where the rate is"


def printed(*, width, terminal):
    screen = io.StringIO()
    print_line(Console(file=screen, force_terminal=terminal, width=width, color_system=None), LINE)
    return screen.getvalue().splitlines()


def test_a_terminal_breaks_lines_between_words():
    lines = printed(width=60, terminal=True)
    assert max(map(len, lines)) <= 60
    assert " ".join(line.strip() for line in lines) == LINE


def test_a_file_gets_whole_lines():
    assert printed(width=60, terminal=False) == [LINE]


def test_a_command_is_one_line_that_can_be_copied_from_any_terminal():
    screen = io.StringIO()
    command = f"python -m runner --config-dir {'folder/' * 20} scheduler=suggested model=cnn"
    print_command(Console(file=screen, force_terminal=True, width=60, color_system=None), command)
    assert screen.getvalue() == f"{command}\n"


@pytest.mark.parametrize(
    ("speed", "text"),
    [(4600.4, "4,600 steps/s"), (99.96, "100 steps/s"), (0.1684, "0.168 steps/s")],
)
def test_a_pace_has_three_digits_or_more(speed, text):
    assert pace(speed) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.975, "97.50%"),
        ("loss", 0.08434, "0.0843"),
        ("loss", 0.00003214, "3.21e-05"),
        ("loss", 0.0, "0.0000"),
        ("mae", 10306.4551, "10,306"),
        ("r2", -2500.0, "-2,500"),
    ],
)
def test_a_metric_has_no_more_digits_than_it_is_worth(name, value, text):
    assert metric_value(name, value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1 epoch"), (2, "2 epochs"), (0.75, "0.8 epochs"), (0, "0 epochs"), (4e3, "4,000 epochs")],
)
def test_what_is_counted_is_singular_or_plural(value, text):
    assert counted(value, "epoch") == text


def described(*overrides):
    experiment = build(configure("model=linear", *overrides), jax.devices("cpu")[0])
    out = io.StringIO()
    console = Console(file=out, width=60)
    announce(console, experiment, params=650)
    console.print(inventory(timeline.compute_timeline(experiment)))
    return experiment, out.getvalue()


def test_one_epoch_of_one_batch_is_singular():
    _, text = described("training.epochs=1", "training.batch_size=1437")
    assert "1 step (1 epoch of 1 batch of 1437)" in text
    assert "1 step, 1 epoch of 1 step" in text


def test_large_numbers_are_written_out():
    bounds = "scheduler.base_lr=0.00001", "scheduler.max_lr=0.3"
    experiment, text = described("training.steps=2200000", *bounds)
    assert "2,200,000 steps, 100,000 epochs of 22 steps" in " ".join(text.split())
    assert any("is 30,000 times base_lr 1e-05" in line for line in warnings(experiment))
