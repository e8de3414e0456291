"""Signals: the first is noted, the second ends at once, with real signals to real processes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from runner.records.stopping import EndAtOnceError, stop_on_signals

HEAD = """if True:
    import hashlib, signal, sys, time
    from runner.records.stopping import stop_on_signals
    def say(text): print(text, flush=True)
"""


def start(body, *, before=()):
    command = [*before, sys.executable, "-c", HEAD + body]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(process, line):
    assert process.stdout.readline() == line + "\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_body_end_in_its_own_time(number):
    process = start("""
    with stop_on_signals() as stop:
        say("training")
        while stop.signal is None:
            time.sleep(0.01)
        say("saved")
    sys.exit(128 + stop.signal)
    """)
    wait_for(process, "training")
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("saved\n", 128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once_and_unwinds(number):
    process = start("""
    try:
        with stop_on_signals() as stop:
            say("saving")
            try:
                for _ in range(3000):
                    time.sleep(0.01)
                    if stop.signal: say("noted"); stop.signal and time.sleep(100)
            finally:
                say("unwound")
    except KeyboardInterrupt as error:
        sys.exit(error.exit_code)
    """)
    wait_for(process, "saving")
    process.send_signal(number)
    wait_for(process, "noted")
    process.send_signal(number)
    output, _ = process.communicate(timeout=50)  # the sleep would take 100 s
    assert (output, process.returncode) == ("unwound\n", 128 + number)


def test_a_second_signal_ends_a_main_thread_that_never_comes_back_to_python():
    process = start("""
    with stop_on_signals() as stop:
        say("compiling")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # minutes, all of them in C
    """)
    wait_for(process, "compiling")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=50)
    assert process.returncode == 143


def test_a_signal_the_process_was_started_to_ignore_stays_ignored():
    process = start(
        """
    with stop_on_signals() as stop:
        say("training")
        time.sleep(0.5)
        say(stop.signal)
    """,
        before=("sh", "-c", "trap '' INT; exec \"$@\"", "sh"),
    )
    wait_for(process, "training")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("None\n", 0)


def test_the_handlers_from_before_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    for _ in range(3):
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signal == signal.SIGTERM
            with pytest.raises(EndAtOnceError):
                os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_outside_the_main_thread_nothing_changes():
    seen = []

    def job():
        with stop_on_signals() as stop:
            seen.append((stop.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join(10)
    assert seen == [(None, signal.getsignal(signal.SIGINT))]
