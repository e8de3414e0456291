"""The end of a run: signals to real processes, and the summary in every case."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from runner import signals
from runner.errors import DivergedError, InterruptedRunError, StorageError, TerminatedRunError
from runner.records import ending as ending_module
from runner.records.ending import Ending
from runner.records.summary import blank_summary, write_summary
from runner.signals import EndAtOnceError

CLOCK = SimpleNamespace(seconds=1.5)

HEAD = """if True:
    import hashlib, os, signal, sys, time
    from pathlib import Path
    from types import SimpleNamespace
    from runner.records.ending import Ending
    def say(text): print(text, flush=True)
    ending = Ending(Path("."), seed=3)
    clock = SimpleNamespace(seconds=0.0)
"""


@pytest.fixture
def start(tmp_path, environment):
    """Starts a process that runs the given program in the folder of the summary."""
    started = []

    def start(body, *, before=()):
        process = subprocess.Popen(
            [*before, sys.executable, "-c", HEAD + body],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process, line):
    assert process.stdout.readline() == line + "\n"


def read(folder):
    assert [path.name for path in folder.iterdir()] == ["summary.json"]
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_the_body_finish(start, number):
    process = start("""
    with ending:
        ending.begin(clock)
        say("training")
        while ending.stop_signal is None:
            time.sleep(0.01)
        say("saved")
    sys.exit(128 + ending.stop_signal)
    """)
    wait_for(process, "training")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("saved\n", 128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once_and_unwinds(start, tmp_path, number):
    process = start("""
    try:
        with ending:
            ending.begin(clock)
            say("saving")
            try:
                for _ in range(3000):
                    time.sleep(0.01)
                    if ending.stop_signal: say("noted"); time.sleep(100)
            finally:
                say("unwound")
    except KeyboardInterrupt as error:
        sys.exit(128 + error.number)
    """)
    wait_for(process, "saving")
    process.send_signal(number)
    wait_for(process, "noted")
    process.send_signal(number)
    output, _ = process.communicate(timeout=50)  # the sleep would take 100 s
    assert (output, process.returncode) == ("unwound\n", 128 + number)
    assert read(tmp_path)["status"] == "stopped"


@pytest.mark.slow
def test_a_second_signal_ends_a_main_thread_that_never_returns_to_python(start, tmp_path):
    process = start("""
    with ending:
        ending.begin(clock)
        ending.device = "cpu"
        say("compiling")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes, all of them in C
    """)
    wait_for(process, "compiling")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=50)
    assert process.returncode == 143
    assert error == "error: run: ended at once by a second SIGTERM; start it again\n"
    found = read(tmp_path)
    assert (found["status"], found["seed"], found["device"]) == ("stopped", 3, "cpu")


def test_a_signal_the_process_was_started_to_ignore_stays_ignored(start):
    process = start(
        """
    with ending:
        ending.begin(clock)
        say("training")
        time.sleep(0.5)
        say(ending.stop_signal)
    """,
        before=("sh", "-c", "trap '' INT; exec \"$@\"", "sh"),
    )
    wait_for(process, "training")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("None\n", 0)


def test_the_previous_handlers_are_restored(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads, files = threading.active_count(), os.listdir("/dev/fd")
    for _ in range(3):
        with Ending(tmp_path, seed=0) as ending:
            ending.begin(CLOCK)
            os.kill(os.getpid(), signal.SIGTERM)
            assert ending.stop_signal == signal.SIGTERM
            with pytest.raises(EndAtOnceError):
                os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    assert len(os.listdir("/dev/fd")) <= len(files)


def test_a_signal_before_the_run_has_begun_ends_it_at_once_with_a_summary(start, tmp_path):
    process = start("""
    with ending:
        say("importing")
        time.sleep(100)
    """)
    wait_for(process, "importing")
    process.send_signal(signal.SIGHUP)
    _, error = process.communicate(timeout=20)
    assert (error, process.returncode) == ("error: run: ended by SIGHUP; start it again\n", 143)
    assert read(tmp_path)["status"] == "stopped"


def test_a_process_that_ends_at_once_keeps_the_summary_of_a_run_that_has_ended(
    tmp_path, monkeypatch
):
    callbacks = []

    def handled_by(_handler, *, last_words):
        callbacks.append(last_words)
        return nullcontext()

    monkeypatch.setattr(ending_module, "handled_by", handled_by)
    with Ending(tmp_path, seed=0) as ending:
        ending.params = {"bias": np.zeros(2)}
        finished = ending.finish()
        callbacks[0]()
    assert finished["params_sha256"] is not None
    assert read(tmp_path) == finished


def test_a_process_that_ends_at_once_does_not_fetch_the_parameters(tmp_path, monkeypatch):
    """The device may never answer."""
    callbacks = []

    def handled_by(_handler, *, last_words):
        callbacks.append(last_words)
        return nullcontext()

    monkeypatch.setattr(ending_module, "handled_by", handled_by)
    with Ending(tmp_path, seed=0) as ending:
        ending.params = {"bias": Broken()}
        for _ in range(2):
            callbacks[0]()
        found = read(tmp_path)
        assert (found["status"], found["params_sha256"]) == ("stopped", None)


@pytest.mark.parametrize(
    ("names", "ends"),
    [
        (["USR1", "USR1"], []),
        (["INT", "USR1"], []),
        (["INT", "USR1", "TERM"], ["TERM"]),
        (["HUP", "INT", "TERM"], ["INT"]),
    ],
)
@pytest.mark.parametrize("has_ended", [False, True])
def test_a_process_is_stuck_after_a_second_signal_that_ends_runs(
    monkeypatch, names, ends, has_ended
):
    """The requests to save a checkpoint do not count, nor do signals while the run unwinds."""
    stuck, ended = [], threading.Event()
    if has_ended:
        ended.set()
    monkeypatch.setattr(signals, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(signals, "_end_stuck", lambda number, _: stuck.append(number))
    reading, writing = os.pipe()
    os.write(writing, bytes([*(signal.Signals[f"SIG{name}"] for name in names), 0]))
    signals._watch(reading, ended, lambda: None)
    for descriptor in (reading, writing):
        os.close(descriptor)
    assert stuck == ([] if has_ended else [signal.Signals[f"SIG{name}"] for name in ends])


def test_a_task_without_a_summary_writes_none_when_it_fails(tmp_path):
    with pytest.raises(ValueError, match="x"), Ending(tmp_path, seed=0, leaves_summary=False):
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []


def test_a_summary_that_cannot_be_written_does_not_hide_an_earlier_error(tmp_path, monkeypatch):
    def full(*_):
        raise StorageError("summary.json", "cannot be written", "free some space")

    monkeypatch.setattr(ending_module, "write_summary", full)
    with pytest.raises(DivergedError), Ending(tmp_path, seed=0):
        raise DivergedError("train/loss", "nan", "lower it")
    with pytest.raises(StorageError), Ending(tmp_path, seed=0):
        pass


def test_outside_the_main_thread_nothing_changes(tmp_path):
    seen = []

    def job():
        with Ending(tmp_path, seed=0) as ending:
            ending.begin(CLOCK)
            seen.append((ending.stop_signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join(10)
    assert seen == [(None, signal.getsignal(signal.SIGINT))]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DivergedError("train/loss", "nan", "lower it"), "diverged"),
        (EndAtOnceError(2), "stopped"),
        (FloatingPointError("invalid value (nan) encountered in scan"), "diverged"),
        (RuntimeError("a bug"), "failed"),
    ],
)
def test_the_summary_of_a_run_that_ends_early_has_its_status(tmp_path, error, status):
    ending = Ending(tmp_path, seed=3)
    ending.begin(CLOCK)
    with pytest.raises(type(error)), ending:
        raise error
    found = read(tmp_path)
    assert found["seconds"].pop("total") >= 0
    assert found["seconds"].pop("compile") == 0
    expected = blank_summary(status, seed=3, seconds=0)
    del expected["seconds"]["total"], expected["seconds"]["compile"]
    assert found == expected


class Broken:
    """Parameters of a computation that failed on the device."""

    def __array__(self, *_, **__):
        raise RuntimeError("INTERNAL: the device is gone")


def test_parameters_that_cannot_be_fetched_do_not_prevent_the_summary(tmp_path):
    ending = Ending(tmp_path, seed=0)
    ending.params = {"kernel": Broken()}
    with pytest.raises(ValueError, match="first"), ending:
        raise ValueError("what came first")
    assert read(tmp_path)["status"] == "failed"


@pytest.mark.parametrize("interrupted", ["params_sha256", "write_summary"])
def test_a_second_signal_does_not_prevent_the_summary(tmp_path, monkeypatch, interrupted):
    action, calls = getattr(ending_module, interrupted), []

    def once(*args):
        calls.append(args)
        if len(calls) == 1:
            raise EndAtOnceError(15)
        return action(*args)

    monkeypatch.setattr(ending_module, interrupted, once)
    with pytest.raises(EndAtOnceError), Ending(tmp_path, seed=0) as ending:
        ending.params = {}
    assert read(tmp_path)["status"] == "finished"


def test_the_epochs_of_a_summary_are_not_rounded(tmp_path):
    with Ending(tmp_path, seed=0) as ending:
        ending.steps_per_epoch = 22
        ending.recorder = SimpleNamespace(
            steps=33,
            last_metrics={},
            best=None,
            steps_per_second=None,
            seconds_to_first_step=None,
            goodput=None,
            logging_lost_at_step=None,
            checkpoint={"last": None, "best": None},
        )
    found = read(tmp_path)
    assert (found["steps"], found["epochs"]) == (33, 1.5)


def test_a_signal_after_the_last_step_does_not_stop_a_run(tmp_path):
    ending = Ending(tmp_path, seed=0)
    ending.raise_if_stopped(59, 60)  # there was no signal
    ending.stop_signal = signal.SIGTERM
    ending.raise_if_stopped(60, 60)
    with pytest.raises(TerminatedRunError) as caught:
        ending.raise_if_stopped(59, 60)
    said = f"what was recorded is kept; resume={tmp_path} continues"
    assert str(caught.value) == f"SIGTERM: stopped after 59 of 60 steps; {said}"


def test_the_compile_seconds_of_a_run_are_those_since_it_began(tmp_path):
    """All jobs of a process share one clock."""
    clock, compiled = SimpleNamespace(seconds=1.5), []
    for seconds in (4.0, 4.25):
        ending = Ending(tmp_path, seed=0)
        ending.begin(clock)
        clock.seconds = seconds
        compiled.append(ending.finish()["seconds"]["compile"])
    assert compiled == [2.5, 0.25]


def test_a_run_that_has_finished_before_keeps_its_summary(tmp_path):
    with Ending(tmp_path, seed=0) as ending:
        ending.begin(CLOCK)
    first = read(tmp_path)
    assert first["status"] == "finished"
    with Ending(tmp_path, seed=1) as ending:
        assert ending.keep_finished()
        assert ending.status == "finished"
    assert read(tmp_path) == first


@pytest.mark.parametrize("status", ["stopped", "failed", None])
def test_a_run_that_had_not_finished_gets_a_new_summary(tmp_path, status):
    if status is not None:
        write_summary(tmp_path, {"status": status})
    with Ending(tmp_path, seed=1) as ending:
        assert not ending.keep_finished()
        assert ending.status is None
    assert (read(tmp_path)["status"], read(tmp_path)["seed"]) == ("finished", 1)


def test_a_save_is_requested_by_a_signal_and_only_once(tmp_path):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as outside of a run
    try:
        with Ending(tmp_path, seed=0) as ending:
            assert not ending.take_save_request()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert [ending.take_save_request() for _ in range(3)] == [True, False, False]
            assert not ending.is_stopping()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, InterruptedRunError), (signal.SIGHUP, TerminatedRunError)]
)
def test_the_error_of_a_stopped_run_names_its_signal(tmp_path, number, kind):
    ending = Ending(tmp_path, seed=0)
    assert not ending.is_stopping()
    assert ending.stop_error("stopped", "start it again") is None
    ending.stop_signal = number
    assert ending.is_stopping()
    error = ending.stop_error("stopped", "start it again")
    assert type(error) is kind
    assert str(error) == f"{signal.Signals(number).name}: stopped; start it again"


def test_where_a_run_comes_from_and_its_settings_are_in_the_summary(tmp_path):
    parent, settings = {"folder": "first", "step": 20}, {"seed": 3}
    with Ending(tmp_path, seed=3, settings=settings, overrides=["seed=3"]) as ending:
        ending.parent = parent
    found = read(tmp_path)
    assert (found["parent"], found["settings"]) == (parent, settings)
    assert found["overrides"] == ["seed=3"]
    assert found["seconds"]["compile"] is None  # it had not begun


@pytest.mark.parametrize(
    ("error", "is_hashed"),
    [(None, True), (DivergedError("train/loss", "nan", "lower it"), True), (ValueError(), False)],
)
def test_the_parameters_are_hashed_unless_the_run_failed(tmp_path, error, is_hashed):
    """After a failure of the device they may not be there to fetch."""
    with Ending(tmp_path, seed=0) as ending:
        ending.params = {"bias": np.zeros(2)}
        ending.finish(error)
    assert (read(tmp_path)["params_sha256"] is not None) == is_hashed


@pytest.mark.parametrize("kind", [InterruptedRunError, TerminatedRunError])
def test_a_run_that_a_signal_ended_is_stopped(tmp_path, kind):
    with pytest.raises(kind), Ending(tmp_path, seed=0):
        raise kind("SIGTERM", "stopped after 1 of 2 steps", "start it again")
    assert read(tmp_path)["status"] == "stopped"


def test_the_seconds_of_a_run_count_from_its_beginning(tmp_path, monkeypatch):
    """What comes before, such as imports, is not part of the run."""
    now = 100.0
    monkeypatch.setattr(ending_module, "perf_counter", lambda: now)
    ending = Ending(tmp_path, seed=0)
    now = 110.0
    ending.begin(CLOCK)
    now = 115.0
    assert (ending.finish()["seconds"]["total"], ending.started) == (5.0, 110.0)


def test_the_figures_of_the_recorder_are_in_the_summary(tmp_path):
    best = {"metric": "eval/accuracy", "value": 0.75, "step": 20}
    with Ending(tmp_path, seed=3) as ending:
        ending.begin(CLOCK)
        ending.device, ending.params_count = "cpu", 12
        ending.recorder = SimpleNamespace(
            steps=40,
            last_metrics={"eval/accuracy": 0.5},
            best=best,
            steps_per_second=250.0,
            seconds_to_first_step=2.5,
            goodput=0.75,
            logging_lost_at_step=None,
            checkpoint={"last": "checkpoints/40", "best": "checkpoints/30"},
        )
    found = read(tmp_path)
    assert found["goodput"] == 0.75
    assert found["checkpoint"] == {"last": "checkpoints/40", "best": "checkpoints/30"}
    assert found["seconds"]["to_first_step"] == 2.5
    assert (found["device"], found["params"], found["steps"]) == ("cpu", 12, 40)
    assert (found["metrics"], found["best"]) == ({"eval/accuracy": 0.5}, best)
    assert found["steps_per_second"] == 250.0
