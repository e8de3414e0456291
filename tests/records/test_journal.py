"""The journal: which steps it writes, and with which wall times."""

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from runner.config import Ranking
from runner.errors import DivergedError, StorageError
from runner.records import journal as journal_module
from runner.records import throughput
from runner.records.class_tables import ClassTables
from runner.records.figures import Figures
from runner.records.journal import Journal
from runner.training.listener import Evaluations


class Events:
    """Keeps what is written, in order: (step, wall time) by tag, and (step, PNG) of pictures."""

    lost_at_step = None

    def __init__(self):
        self.written, self.pictures = {}, []

    def picture(self, tag, png, *, step):
        self.pictures.append((tag, png, step))

    def scalars(self, steps, columns, wall_times):
        for tag, column in columns.items():
            assert len(column) == len(steps) == len(wall_times)
            self.written.setdefault(tag, []).extend(zip(steps, wall_times, strict=True))


ACCURACY = Ranking("eval/accuracy", True)
DISPLAY = SimpleNamespace(update=lambda *_: None, evaluation=lambda *_: None)


def start(log_every=1, **more):
    events = Events()
    settings = {"display": DISPLAY, "started": 0.0, "ranking": ACCURACY, **more}
    return events, Journal(events=events, log_every=log_every, **settings)


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


def test_evaluations_within_a_chunk_end_with_their_steps(monkeypatch):
    events, journal = start()
    monkeypatch.setattr(journal_module, "time", SimpleNamespace(time=lambda: 108.0))
    metrics = {"eval/accuracy": np.array([9.0, 0.5, 0.75, 9.0])}
    evaluations = Evaluations([2, 3], metrics, None, None)
    recorded = journal.evaluated_chunk(10, 4, losses(8), evaluations, submitted=100.0)
    assert list(recorded) == [2, 3]
    assert events.written == {
        "train/loss": [(10, 102), (11, 104), (12, 106), (13, 108)],
        "eval/accuracy": [(12, 104), (13, 106)],
    }
    assert journal.best == {"metric": "eval/accuracy", "value": 0.75, "step": 13}
    assert journal.last_metrics == {"eval/accuracy": 0.75}
    assert journal.steps == 14


def test_the_steps_around_inline_evaluations_end_together_for_the_measured_speed(monkeypatch):
    now = 100.0
    monkeypatch.setattr(throughput, "perf_counter", lambda: now)
    _, journal = start()
    journal.chunk(0, 10, losses(10), submitted=0.0)
    now = 102.0
    evaluations = Evaluations([2, 3], {}, None, None)
    for _ in journal.evaluated_chunk(10, 4, losses(8), evaluations, submitted=0.0):
        now += 50.0  # what is done between the parts is not training
    assert journal.throughput.steps_per_second == pytest.approx(4 / 2)


def rates(count):
    return {f"schedule/lr/{name}": np.float32([0.5, 0.25]) for name in "abcde"[:count]}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"schedule/lr": np.float32([0.5, 0.25])}, ", where the rate was 0.25"),
        (rates(2), ", where the rates were 0.25 (a), 0.25 (b)"),
        (rates(4), ", where the rates were 0.25 (a), 0.25 (b), 0.25 (c), 0.25 (d)"),
        (rates(5), ", where the rates were 0.25 (a), 0.25 (b), 0.25 (c), 0.25 (d), ..."),
        ({"schedule/cycle": np.array([6, 7])}, ", in cycle 7"),
    ],
)
def test_a_divergence_names_the_rates_of_its_step(columns, said):
    _, journal = start()
    with pytest.raises(DivergedError) as caught:
        journal.chunk(3, 2, {"train/loss": np.float32([1, np.inf]), **columns}, submitted=0.0)
    assert caught.value.problem == f"inf at step 4{said}"


def test_a_divergence_of_a_schedule_without_cycles_names_none():
    _, journal = start(has_cycles=False)
    columns = {"train/loss": np.float32([np.nan]), "schedule/cycle": np.array([0])}
    with pytest.raises(DivergedError) as caught:
        journal.chunk(1, 1, columns, submitted=0.0)
    assert caught.value.problem == "nan at step 1"


@pytest.mark.parametrize(("step", "said"), [(1, "1 update"), (2, "2 updates")])
def test_an_evaluation_that_is_not_finite_counts_its_updates(step, said):
    _, journal = start()
    with pytest.raises(DivergedError) as caught:
        journal.evaluation(step, {"eval/loss": np.float32(np.nan)}, submitted=0.0)
    assert caught.value.problem == f"nan after {said}"


class Ready:
    """A metric that was computed before it was handed over."""

    def is_ready(self):
        return True

    def __array__(self, dtype=None, copy=None):
        return np.asarray(0.5, np.float32)


def test_an_evaluation_of_which_a_part_is_awaited_has_just_ended(monkeypatch):
    paused = []
    _, journal = start()
    monkeypatch.setattr(journal.throughput, "pause", lambda **given: paused.append(given))
    for metrics in ([Ready(), Awaited()], [Ready()], [0.5]):
        named = {f"eval/{number}": value for number, value in enumerate(metrics)}
        journal.evaluation(1, named, submitted=7.0)
    assert paused == [{"since": 7.0, "seen": seen} for seen in (True, False, False)]


LAST = {"eval/loss": 0.5, "test/loss": 0.75}


@pytest.mark.parametrize(
    ("evaluated", "first", "written"),
    [(20, 20, ["eval/loss"]), (10, 20, []), (None, 20, []), (0, 0, [])],
)
def test_a_resumed_run_writes_an_evaluation_of_its_first_step_again(evaluated, first, written):
    """But not that of the test, which a longer run makes again at its end."""
    earlier = Figures(metrics=LAST, evaluated_step=evaluated)
    events, journal = start(start=first, earlier=earlier)
    assert list(events.written) == written
    assert journal.last_metrics == LAST
    journal.chunk(first, 2, losses(2), submitted=0.0)
    assert journal.last_metrics == {"eval/loss": 0.5}


def test_a_run_with_nothing_left_to_train_writes_its_test_again():
    """Its events are in a new file, and TensorBoard hides those of the same step before it."""
    events, journal = start(start=20, earlier=Figures(metrics=LAST, evaluated_step=10))
    journal.finish()
    assert [(tag, step) for tag, [(step, _)] in events.written.items()] == [("test/loss", 20)]
    events, journal = start(start=20, earlier=Figures(metrics=LAST, evaluated_step=10))
    journal.chunk(20, 1, losses(1), submitted=0.0)
    journal.evaluation(21, {"test/loss": 0.25}, submitted=0.0)
    journal.finish()
    assert [step for step, _ in events.written["test/loss"]] == [21]


def test_pictures_are_written_at_the_last_step():
    tables = ClassTables(["a", "b"], lambda tag, matrix: bytes([int(matrix.sum())]))
    events, journal = start(tables=tables)
    journal.chunk(0, 3, losses(3), submitted=0.0)
    found = {"test/loss": 0.5, "test/recall": np.array([0.5, 1]), "test/confusion": np.eye(2)}
    journal.evaluation(3, found, submitted=0.0)
    journal.finish()
    assert events.pictures == [("test/confusion", bytes([2]), 3)]
    by_class = {"test/recall/a": 0.5, "test/recall/b": 1.0}
    assert journal.last_metrics == {"test/loss": 0.5, **by_class}


def test_the_figures_count_all_attempts(monkeypatch):
    """Ten steps in half a second after the first chunk: 30 steps take 1.5 s."""
    now = 100.0
    for module in (throughput, journal_module):
        monkeypatch.setattr(module, "perf_counter", lambda: now)
    best = {"metric": "eval/accuracy", "value": 0.75, "step": 15}
    earlier = Figures(best=best, seconds=40.0, training_seconds=30.0)
    _, journal = start(start=20, started=90.0, earlier=earlier)
    assert journal.figures() == Figures(best=best, seconds=50.0, training_seconds=30.0)
    journal.chunk(20, 20, losses(20), submitted=0.0)
    now += 0.5
    journal.chunk(40, 10, losses(10), submitted=0.0)
    journal.evaluation(50, {"eval/accuracy": 0.5}, submitted=0.0)
    found = journal.figures()
    assert (found.seconds, found.training_seconds) == (50.5, 31.5)
    assert (found.metrics, found.evaluated_step) == ({"eval/accuracy": 0.5}, 50)
    assert (found.best, found.logging_lost_at_step) == (best, None)


def test_the_speed_is_written_at_the_step_it_was_measured_up_to(monkeypatch):
    now = 100.0
    monkeypatch.setattr(throughput, "perf_counter", lambda: now)
    events, journal = start()
    for first in (0, 10, 20):
        journal.chunk(first, 10, losses(10), submitted=0.0)
        now += 0.25
    assert [step for step, _ in events.written["throughput/steps_per_second"]] == [19, 29]


SAVED = asdict(Figures(metrics=LAST, evaluated_step=20, best={"value": 0.5, "step": 20}))


@pytest.mark.parametrize(
    "changed",
    [
        {"metrics": {"eval/loss": "low"}},
        {"metrics": [0.5]},
        {"best": {"value": 0.5}},
        {"best": {"value": None, "step": 20}},
        {"best": {"value": 0.5, "step": "x"}},
        {"best": 3},
        {"seconds": None},
        {"training_seconds": "long"},
        {"more": 1},
    ],
)
def test_figures_that_no_run_has_saved_are_refused(changed):
    assert Figures.saved({"figures": SAVED}, source="x") == Figures(**SAVED)
    with pytest.raises(StorageError, match=r"^x: has no valid metrics of its run"):
        Figures.saved({"figures": SAVED | changed}, source="x")
    with pytest.raises(StorageError, match=r"^x: has no valid metrics of its run"):
        Figures.saved({}, source="x")


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
