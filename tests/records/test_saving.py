"""When states are saved, which of them are kept, and what a failed save does."""

import logging
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

from runner.errors import StorageError
from runner.records import saving
from runner.records.checkpoints import Checkpoints
from runner.records.figures import Figures
from runner.records.saving import SavePlan, Saver

AUTO = SavePlan(seconds=30.0, steps=100, every=None, cycle_ends=(), best=False)


class Clock:
    """Takes the place of the module ``time``."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1.7e9 + self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(saving, "time", clock)
    return clock


@pytest.fixture
def saver(tmp_path, clock):
    """Makes a saver of states that are numbers; closed at the end."""
    made = []

    def make(plan, *, keep=2, start=0, earlier=None, requested=lambda: False, to_arrays=None):
        made.append(
            Saver(
                Checkpoints(tmp_path, keep=keep),
                plan,
                to_arrays=to_arrays or (lambda state: {"params/a": np.array(state)}),
                record={"plugins": ["p"]},
                requested=requested,
                start=start,
                earlier=earlier or Figures(),
            )
        )
        return made[-1]

    yield make
    for saver in made:
        saver.close()


def best_at(step):
    return Figures(best={"metric": "eval/accuracy", "value": 0.5, "step": step})


def test_a_save_is_due_once_both_the_seconds_and_the_steps_have_passed(saver, clock):
    found = saver(AUTO)
    clock.now += 29.9
    assert not found.is_due(1000)
    clock.now += 0.2
    assert not found.is_due(99)
    assert found.is_due(100)
    found.offer(100, 1.0, Figures(), due=True)
    assert not found.is_due(5000)
    clock.now += 30
    assert not found.is_due(199)
    assert found.is_due(200)


def test_a_resumed_run_waits_from_its_own_start(saver, clock):
    found = saver(AUTO, start=500)
    clock.now += 31
    assert not found.is_due(599)
    assert found.is_due(600)


def test_every_saves_after_its_multiples_however_long_they_take(saver, clock):
    found = saver(replace(AUTO, every=20))
    assert [step for step in range(1, 70) if found.is_due(step)] == [20, 40, 60]
    clock.now += 1000
    assert not found.is_due(30)


def test_cycle_ends_are_saved_as_well_and_all_kept(saver, tmp_path):
    found = saver(replace(AUTO, every=20, cycle_ends=(10, 30)), keep=1)
    for step in range(1, 61):
        if due := found.is_due(step):
            found.offer(step, float(step), Figures(), due=due)
    found.close()
    assert Checkpoints(tmp_path).steps() == [10, 30, 60]


def test_a_request_is_answered_by_the_next_state(saver):
    requests = iter([False, True, False])
    found = saver(AUTO, requested=lambda: next(requests))
    assert [found.is_due(step) for step in (1, 2, 3)] == [False, True, False]


def test_the_best_state_is_saved_with_the_next_one_due_and_kept(saver, tmp_path):
    found = saver(replace(AUTO, best=True), keep=1)
    assert found.keeps_best
    found.offer(10, 1.0, best_at(10), due=False)
    found.offer(20, 2.0, best_at(20), due=False)
    found.offer(30, 3.0, best_at(20), due=False)
    assert Checkpoints(tmp_path).steps() == []
    for step in (40, 50, 60):
        found.offer(step, float(step), best_at(20), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [20, 60]
    assert Checkpoints(tmp_path).load(20).arrays["params/a"] == 2.0
    assert found.best == tmp_path / "checkpoints" / "20"
    assert found.last == tmp_path / "checkpoints" / "60"


def test_the_newest_state_is_still_there_after_the_best_one_was_saved_with_it(saver, tmp_path):
    """A checkpoint sets later ones aside, so that the earlier state must be saved first."""
    found = saver(replace(AUTO, best=True))
    found.offer(5, 1.0, best_at(5), due=False)
    found.offer(10, 2.0, best_at(5), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [5, 10]
    assert found.last == tmp_path / "checkpoints" / "10"
    assert found.best == tmp_path / "checkpoints" / "5"


def test_a_better_state_takes_the_place_of_the_best_one(saver, tmp_path):
    found = saver(replace(AUTO, best=True), keep=1)
    for step, best in ((10, 10), (20, 10), (30, 30), (40, 30)):
        found.offer(step, float(step), best_at(best), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [30, 40]


def test_a_resumed_run_keeps_the_best_of_its_earlier_attempt(saver, tmp_path):
    first = saver(replace(AUTO, best=True), keep=1)
    for step in (10, 20):
        first.offer(step, float(step), best_at(10), due=True)
    first.close()
    found = saver(replace(AUTO, best=True), keep=1, start=20, earlier=best_at(10))
    assert found.best == tmp_path / "checkpoints" / "10"
    assert found.last == tmp_path / "checkpoints" / "20"
    found.offer(30, 3.0, best_at(10), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [10, 30]


def test_no_best_is_kept_where_it_is_not_wanted(saver, tmp_path):
    found = saver(AUTO, keep=1)
    assert not found.keeps_best
    for step in (10, 20):
        found.offer(step, float(step), best_at(10), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [20]
    assert found.best is None


def test_the_best_state_of_an_earlier_step_is_not_saved_where_it_is_not_wanted(saver, tmp_path):
    found = saver(AUTO, start=2, earlier=best_at(1))
    assert (found.last, found.best) == (None, None)
    found.offer(5, 0.5, best_at(5), due=False)
    found.offer(10, 1.0, best_at(5), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [10]


def test_a_best_state_is_saved_once_with_its_own_figures(saver, tmp_path):
    found = saver(replace(AUTO, best=True), keep=9)
    found.offer(5, 0.5, best_at(5), due=False)
    found.offer(10, 1.0, replace(best_at(5), seconds=9.0), due=True)
    found.wait()
    record = Checkpoints(tmp_path).load(5).record
    assert Figures(**record["figures"]) == best_at(5)
    shutil.rmtree(tmp_path / "checkpoints" / "5")
    found.offer(20, 2.0, best_at(5), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == [10, 20]


def test_the_figures_and_the_record_are_saved_with_the_state(saver, tmp_path, clock):
    found = saver(AUTO)
    found.offer(10, 1.0, best_at(5), due=True)
    found.close()
    record = Checkpoints(tmp_path).newest().record
    assert Figures(**record["figures"]) == best_at(5)
    assert record["plugins"] == ["p"]
    assert record["time"] == clock.time()


def test_a_state_that_is_not_finite_is_not_saved(saver, tmp_path, caplog):
    found = saver(AUTO, to_arrays=lambda state: {"a": np.array(state)} if state > 0 else None)
    found.offer(10, 1.0, Figures(), due=True)
    with caplog.at_level(logging.WARNING, "runner"):
        found.offer(20, -1.0, Figures(), due=True)
        found.close()
    assert Checkpoints(tmp_path).steps() == [10]
    assert found.last == tmp_path / "checkpoints" / "10"
    assert "the state after step 20 is not finite; it was not saved" in caplog.text


def test_a_step_is_not_saved_twice(saver, tmp_path):
    found = saver(AUTO, start=10)
    found.offer(10, 1.0, Figures(), due=True)
    found.close()
    assert Checkpoints(tmp_path).steps() == []


def test_saving_happens_in_a_thread_and_the_next_save_waits_for_it(saver, tmp_path):
    released = threading.Event()

    def slow(state):
        released.wait(10)
        return {"a": np.array(state)}

    found = saver(AUTO, to_arrays=slow)
    found.offer(10, 1.0, Figures(), due=True)  # returns at once
    assert not Checkpoints(tmp_path).steps()
    waiting = threading.Thread(target=found.offer, args=(20, 2.0, Figures()), kwargs={"due": True})
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    released.set()
    waiting.join(10)
    found.close()
    assert Checkpoints(tmp_path).steps() == [10, 20]


@pytest.mark.parametrize("by", ["the next save", "the end"])
def test_a_failed_save_is_raised(saver, tmp_path, monkeypatch, by):
    error = StorageError("checkpoints/10", "cannot be written (full)", "free some space")

    def fail(*_):
        raise error

    monkeypatch.setattr(Checkpoints, "save", fail)
    found = saver(AUTO)
    found.offer(10, 1.0, Figures(), due=True)
    with pytest.raises(StorageError) as caught:
        found.offer(20, 2.0, Figures(), due=True) if by == "the next save" else found.close()
    assert caught.value is error
    assert found.last is None
