"""Steps per second, by a clock that the test winds by hand."""

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
    assert measured.whole() is None


def test_a_figure_is_told_only_once_it_covers_a_window(clock):
    measured = Throughput(started=99.0)
    measured.chunk(10)
    told = []
    for seconds in (0.125, 0.125, 0.0, 0.5, 0.125):
        clock.now += seconds
        measured.chunk(10)
        told.append(measured.window())
    assert told == [None, 20 / 0.25, None, 20 / 0.5, None]
    assert measured.steps_per_second == 50 / 0.875
    assert measured.whole() is None  # figures were told; the rest is too short for one


def test_pauses_are_left_out(clock):
    measured = Throughput(started=99.0)
    measured.chunk(10)
    clock.now += 60
    measured.pause()
    clock.now += 0.1
    measured.chunk(10)
    assert measured.steps_per_second == pytest.approx(100)
    assert measured.whole() == pytest.approx(100)
