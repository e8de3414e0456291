"""The console of a run: a closed pipe or a full disk never ends the run."""

import logging
import os
import sys

import pytest

from runner.report.console import open_console
from runner.report.progress import progress_display


@pytest.fixture
def printing_to(monkeypatch):
    """Makes standard output a stream on a file descriptor; the descriptor is returned."""

    def replace(descriptor):
        stream = os.fdopen(descriptor, "w", encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return replace


def test_a_closed_pipe_gives_no_warning(printing_to, caplog):
    reading, writing = os.pipe()
    os.close(reading)
    stream = printing_to(writing)
    console = open_console()
    for _ in range(3):
        console.print("nobody reads this")
    stream.flush()
    stream.close()
    assert caplog.records == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_a_full_disk_gives_one_warning(printing_to, caplog):
    stream = printing_to(os.open("/dev/full", os.O_WRONLY))
    console = open_console()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            console.print("x" * 100_000, highlight=False)  # highlighting takes minutes
    stream.close()
    assert [record.getMessage() for record in caplog.records] == [
        "standard output can no longer be written (No space left on device)"
    ]


def test_printed_text_is_written(capsys):
    open_console().print("a · b")
    assert capsys.readouterr().out == "a · b\n"


@pytest.mark.parametrize("columns", ["0", "80"])
def test_a_pipe_with_colours_gets_text_whatever_its_width_and_no_live_bar(
    columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = open_console()
    console.print("a · b")
    progress_display(10, console=console).close()
    assert capsys.readouterr().out == "a · b\n"


@pytest.mark.parametrize("parent", [None, object()])
def test_only_the_main_process_has_a_live_bar(parent, printing_to, monkeypatch):
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("runner.report.console.parent_process", lambda: parent)
    reading, writing = pty.openpty()
    stream = printing_to(writing)
    assert open_console().is_interactive == (parent is None)
    stream.close()
    os.close(reading)
