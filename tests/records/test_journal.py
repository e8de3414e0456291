"""The journal: which steps it writes, and with which wall times."""

from types import SimpleNamespace

import numpy as np
import pytest

from runner.config import Ranking
from runner.records import journal as journal_module
from runner.records import throughput
from runner.records.journal import Figures, Journal
from runner.training.listener import Rounds


class Events:
    """Keeps what is written, in order: (step, wall time) by tag."""

    def __init__(self):
        self.written = {}

    def scalars(self, steps, columns, wall_times):
        for tag, column in columns.items():
            assert len(column) == len(steps) == len(wall_times)
            self.written.setdefault(tag, []).extend(zip(steps, wall_times, strict=True))


ACCURACY = Ranking("eval/accuracy", True)
DISPLAY = SimpleNamespace(update=lambda *_: None, evaluation=lambda *_: None)


def start(log_every=1):
    events = Events()
    return events, Journal(
        events=events, display=DISPLAY, log_every=log_every, started=0.0, ranking=ACCURACY
    )


def losses(capacity):
    return {"train/loss": np.ones(capacity, np.float32)}


@pytest.mark.parametrize(
    ("log_every", "expected"),
    [(1, list(range(19))), (6, [0, 6, 12, 18]), (7, [0, 7, 14, 18]), (100, [0, 18])],
)
def test_no_step_is_written_twice(log_every, expected):
    events, journal = start(log_every)
    for first, length in ((0, 8), (8, 8), (16, 3)):
        journal.chunk(first, length, losses(8), submitted=0.0)
    journal.finish()
    assert [step for step, _ in events.written["train/loss"]] == expected


def test_a_steps_wall_time_is_its_end_and_the_steps_of_a_chunk_are_spread_evenly(monkeypatch):
    events, journal = start()
    for now, first, length, submitted in (
        (108.0, 0, 4, 100.0),
        (109.0, 4, 2, 105.0),  # which began when the first chunk had ended
        (50.0, 6, 2, 49.0),  # the clock has been set back
    ):
        monkeypatch.setattr(journal_module, "time", SimpleNamespace(time=lambda now=now: now))
        journal.chunk(first, length, losses(4), submitted=submitted)
    times = [102, 104, 106, 108, 108.5, 109, 50, 50]
    assert events.written["train/loss"] == list(zip(range(8), times, strict=True))


def test_rounds_are_recorded_as_chunks_and_evaluations_that_end_with_their_steps(monkeypatch):
    events, journal = start()
    monkeypatch.setattr(journal_module, "time", SimpleNamespace(time=lambda: 108.0))
    evaluations = {"eval/accuracy": np.array([0.5, 0.75, 9.0])}
    outcome = Rounds([2, 1, 1], [True, True, False], losses(8), evaluations, None, None)
    assert list(journal.rounds(10, outcome, submitted=100.0)) == [(0, 12), (1, 13)]
    assert events.written == {
        "train/loss": [(10, 102), (11, 104), (12, 106), (13, 108)],
        "eval/accuracy": [(12, 104), (13, 106)],
    }
    assert journal.best == {"metric": "eval/accuracy", "value": 0.75, "step": 13}
    assert journal.last_metrics == {"eval/accuracy": 0.75}
    assert journal.steps == 14


def test_the_steps_of_rounds_end_together_for_the_measured_speed(monkeypatch):
    now = 100.0
    monkeypatch.setattr(throughput, "perf_counter", lambda: now)
    _, journal = start()
    journal.chunk(0, 10, losses(10), submitted=0.0)
    now = 102.0
    outcome = Rounds([2, 1, 1], [True, True, False], losses(8), {}, None, None)
    for _ in journal.rounds(10, outcome, submitted=0.0):
        now += 50.0  # what is done between the rounds is not training
    assert journal.throughput.steps_per_second == pytest.approx(4 / 2)


class Awaited:
    """A metric that is still being computed when it is handed over."""

    def is_ready(self):
        return False

    def __array__(self, dtype=None, copy=None):
        return np.asarray(0.5, np.float32)


def test_the_time_of_an_evaluation_is_not_time_of_training(monkeypatch):
    now = 100.0
    monkeypatch.setattr(throughput, "perf_counter", lambda: now)
    _, journal = start()
    journal.chunk(0, 10, losses(10), submitted=0.0)
    now = 160.0
    journal.evaluation(10, {"eval/loss": Awaited()}, submitted=100.0)
    now = 160.09  # the evaluation may have ended 0.01 s before that was observed
    journal.chunk(10, 10, losses(10), submitted=0.0)
    assert journal.throughput.steps_per_second == pytest.approx(10 / 0.1)


def test_an_evaluation_without_a_rank_is_never_the_best():
    _, journal = start()
    journal.evaluation(10, {"eval/loss": 0.5, "eval/accuracy": np.nan}, submitted=0.0)
    journal.evaluation(20, {"eval/error": 0.5}, submitted=0.0)
    assert journal.best is None
    journal.evaluation(30, {"eval/loss": 0.5, "eval/accuracy": 0.25}, submitted=0.0)
    assert journal.best == {"metric": "eval/accuracy", "value": 0.25, "step": 30}


@pytest.mark.parametrize(("earlier", "now", "first"), [(7, None, 7), (7, 30, 7), (None, 30, 30)])
def test_the_first_step_that_was_not_logged_may_be_of_an_earlier_attempt(earlier, now, first):
    events = Events()
    events.lost_at_step = now
    journal = Journal(
        events=events,
        display=DISPLAY,
        log_every=1,
        started=0.0,
        ranking=ACCURACY,
        start=20,
        earlier=Figures(logging_lost_at_step=earlier),
    )
    assert journal.figures().logging_lost_at_step == first
