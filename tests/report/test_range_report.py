"""What a range test prints."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from runner.config import Ranking
from runner.ranges import Answer, Curve, NoAnswer, Spread
from runner.report import range_report

ANSWER = Answer(0.01, 0.25, 4.0, Spread(0.008, 0.02), Spread(0.2, 0.3), ("it falls", "it rises"))


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), width=100, force_terminal=False)


def lines(screen):
    return [line.split() for line in screen.file.getvalue().splitlines()]


def curve(*smoothed):
    rates = np.geomspace(1e-3, 1, len(smoothed))
    return Curve(0, rates, np.array(smoothed) + 1, np.array(smoothed), stopped=False)


def test_rules_and_bounds_have_their_spread_over_the_seeds(screen, monkeypatch):
    rows = [
        SimpleNamespace(rule="steepest", median=0.05, low=0.04, high=0.06),
        SimpleNamespace(rule="slide", median=None, low=None, high=None),
    ]
    monkeypatch.setattr(range_report, "table", lambda _: rows)
    range_report.print_rules(screen, [], ANSWER)
    assert lines(screen) == [
        ["rule", "rate", "lowest", "highest"],
        ["steepest", "0.05", "0.04", "0.06"],
        ["slide", "–", "–", "–"],
        ["base_lr", "0.01", "0.008", "0.02"],
        ["max_lr", "0.25", "0.2", "0.3"],
    ]


def test_the_scores_are_beside_the_rates_that_were_tried(screen):
    scores = {2.0: (0.9, 0.95), 0.5: (0.8, 0.85), 4.0: (float("-inf"), 0.1)}
    test = SimpleNamespace(scores=scores, found=ANSWER)
    range_report.print_scores(screen, test, Ranking("eval/accuracy", highest=True))
    assert lines(screen) == [
        ["verified", "max_lr", "eval/accuracy"],
        ["0.1250", "(×", "0.5)", "80.00%,", "85.00%"],
        ["0.5000", "(×", "2)", "90.00%,", "95.00%"],
        ["1.000", "(×", "4)", "diverged,", "10.00%"],
    ]


def test_each_value_has_its_lowest_loss_and_its_bounds(screen):
    curves = {0.9: [curve(3.0, 1.0, 2.0), curve(3.0, 2.0, 5.0)], 0.5: [curve(3.0, 2.5, 2.75)]}
    answers = {0.9: ANSWER, 0.5: NoAnswer("it never falls", "widen the range")}
    range_report.print_values(screen, curves, answers, "momentum")
    assert lines(screen) == [
        ["momentum", "lowest", "loss", "base_lr", "max_lr"],
        ["0.9", "1.5", "0.01", "0.25"],
        ["0.5", "2.5", "–", "–"],
    ]


def test_the_reasons_or_the_remedy_are_printed(screen):
    range_report.print_reasons(screen, ANSWER)
    range_report.print_reasons(screen, NoAnswer("it never falls", "widen the range"))
    assert screen.file.getvalue().splitlines() == [
        "  it falls",
        "  it rises",
        "no suggestion: it never falls; widen the range",
    ]
