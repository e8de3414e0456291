"""How a range test verifies its answer by training."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from runner.cli.commands import configure
from runner.experiment import range_test
from runner.experiment.build import build
from runner.experiment.range_test import RangeTestSettings, run_range_test
from runner.ranges import Answer, NoAnswer, Spread

SETTINGS = RangeTestSettings(
    start_lr=1e-5,
    end_lr=10.0,
    steps=40,
    spacing="exponential",
    seeds=1,
    smoothing=None,
    warmup=0,
    verify=True,
)


def range_tested(**changes):
    config = configure("model=linear", "training.epochs=8")
    experiment = build(config, jax.devices("cpu")[0])
    settings = replace(SETTINGS, **changes)
    return run_range_test(experiment, settings, should_stop=lambda: False)


def answer(max_lr):
    spread = Spread(max_lr, max_lr)
    return Answer(max_lr / 10, max_lr, 4.0, spread, spread, reasons=())


def test_an_answer_far_too_low_is_raised_beyond_the_first_multiples(monkeypatch):
    """A softmax regression of the digits learns well at rates from about 0.05 to 1."""
    monkeypatch.setattr(range_test, "choose", lambda _: answer(0.0005))
    found = range_tested()
    assert isinstance(found.answer, Answer)
    assert {8.0, 16.0} <= set(found.scores)
    means = {multiple: np.mean(scores) for multiple, scores in found.scores.items()}
    assert means[16.0] > means[1.0]
    factor = found.answer.max_lr / 0.0005
    assert factor > 4
    assert found.answer.base_lr == pytest.approx(factor * 0.00005)
    assert f"multiplied by {factor:.2g}" in found.answer.reasons[-1]


def test_an_answer_that_diverges_at_every_multiple_is_withdrawn(monkeypatch):
    monkeypatch.setattr(range_test, "choose", lambda _: answer(1e36))
    found = range_tested()
    assert isinstance(found.found, Answer)
    assert isinstance(found.answer, NoAnswer)
    assert "diverge even at" in found.answer.reason


def test_an_answer_that_is_not_verified_stays(monkeypatch):
    monkeypatch.setattr(range_test, "choose", lambda _: answer(0.0005))
    found = range_tested(verify=False)
    assert found.answer == found.found
    assert not found.scores
