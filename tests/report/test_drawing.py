"""Pictures of a run: drawn in a thread, without ending the run when one fails."""

import struct

import numpy as np
import pytest

from runner.report import drawing
from runner.report.matrices import confusion_figure
from runner.report.pictures import examples_figure


def broken():
    raise RuntimeError("no font")


def test_pictures_are_drawn_by_the_end_of_a_short_run(caplog):
    shown = []
    pictures = {"first": lambda: b"1", "second": broken, "third": lambda: b"3"}
    with drawing.drawn(pictures, lambda *found: shown.append(found), is_stopped=lambda: False):
        assert shown == []  # importing the plotting library would delay training
    assert shown == [("first", b"1"), ("third", b"3")]
    assert "the picture 'second' was not drawn: RuntimeError: no font" in caplog.text


def test_a_long_run_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(drawing, "AFTER_SECONDS", 0.0)
    done = drawing.Event()
    with drawing.drawn({"first": lambda: b"1"}, lambda *_: done.set(), is_stopped=lambda: False):
        assert done.wait(10)


def test_a_stopped_run_is_not_drawn():
    shown = []
    with drawing.drawn(
        {"first": lambda: b"1"}, lambda *found: shown.append(found), is_stopped=lambda: True
    ):
        pass
    assert shown == []


@pytest.mark.parametrize(
    "png",
    [
        confusion_figure(np.eye(3, dtype=int), ["a", "$b", "a name that is far too long"]),
        confusion_figure(np.zeros((60, 60), int), [str(i) for i in range(60)]),
        examples_figure(np.zeros((5, 4, 4, 1), np.uint8), list("abcde")),
        examples_figure(np.random.default_rng(0).normal(size=(40, 4, 6, 3)), ["x"] * 40),
    ],
    ids=["few classes", "many classes", "constant grey", "colour"],
)
def test_a_picture_is_a_png_that_fits_a_page(png):
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    assert 300 <= width <= 1400
    assert 300 <= height <= 1400
