"""The console of a run outlives whoever reads it."""

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


def test_a_reader_that_has_seen_enough_is_no_news(printing_to, caplog):
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
def test_a_full_disk_is_told_once(printing_to, caplog):
    stream = printing_to(os.open("/dev/full", os.O_WRONLY))
    console = open_console()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            console.print("x" * 100_000, highlight=False)  # highlighting takes minutes
    stream.close()
    assert [record.getMessage() for record in caplog.records] == [
        "standard output can no longer be written (No space left on device)"
    ]


def test_what_is_printed_arrives(capsys):
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
