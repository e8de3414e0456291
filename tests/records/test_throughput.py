"""Steps per second, with a clock that the test sets."""

import pytest

from runner.records import throughput
from runner.records.throughput import Throughput


@pytest.fixture
def clock(monkeypatch):
    """Set ``clock.now``, in seconds."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(throughput, "perf_counter", lambda: Clock.now)
    return Clock


def test_the_first_chunk_gives_the_time_to_the_first_step_and_no_speed(clock):
    measured = Throughput(started=97.5)
    measured.chunk(32)
    assert measured.seconds_to_first_step == 2.5
    assert measured.steps_per_second is None
    assert measured.window() is None
    assert measured.overall() is None


def test_a_figure_covers_at_least_a_window(clock):
    measured = Throughput(started=99.0)
    measured.chunk(10)
    figures = []
    for seconds in (0.125, 0.125, 0.0, 0.5, 0.125):
        clock.now += seconds
        measured.chunk(10)
        figures.append(measured.window())
    assert figures == [None, 20 / 0.25, None, 20 / 0.5, None]
    assert measured.steps_per_second == 50 / 0.875
    assert measured.overall() is None  # figures were returned; the rest is too short for one


def test_after_a_pause_with_an_unobserved_end_training_counts_from_its_beginning(clock):
    """The chunk after it may have ended long before it is observed."""
    measured = Throughput(started=99.0)
    measured.chunk(10)
    clock.now += 1.0
    measured.pause(since=100.5, seen=False)
    measured.chunk(10)  # between 100.5 and 101
    assert measured.steps_per_second == pytest.approx(20)
    measured.pause(since=100.7, seen=False)  # the chunk before it was observed to end at 101
    clock.now += 0.5
    measured.chunk(10)
    assert measured.steps_per_second == pytest.approx(20)


def test_a_short_pause_counts_as_training(clock):
    """Threads switch every 5 ms: its end may be observed as late as that of the next chunk."""
    measured = Throughput(started=99.0)
    measured.chunk(10)
    clock.now += 0.004
    measured.pause(since=100.001, seen=True)
    clock.now += 0.001
    measured.chunk(10)  # between 100.001 and 100.005
    assert measured.steps_per_second == pytest.approx(2500)


def test_pauses_are_excluded(clock):
    measured = Throughput(started=99.0)
    measured.chunk(10)
    clock.now += 60
    measured.pause(since=100.0, seen=True)
    clock.now += 0.09  # the pause may have ended 0.01 s before that was observed
    measured.chunk(10)
    assert measured.steps_per_second == pytest.approx(100)
    assert measured.overall() == pytest.approx(100)
