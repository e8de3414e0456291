"""Metrics by class: named entries of arrays, and matrices that are drawn once."""

import numpy as np

from runner.records.class_tables import ClassTables

METRICS = {
    "eval/class_accuracy": np.array([0.1, 0.2]),
    "test/loss": np.float32(0.5),
    "test/class_accuracy": np.array([0.25, np.nan]),
    "test/confusion": np.array([[1, 3], [0, 0]]),
}


def test_entries_of_the_test_split_are_named_and_those_without_a_value_left_out():
    tables = ClassTables(["cat", "dog"], lambda tag, matrix: b"")
    assert tables.by_class(METRICS) == {"test/class_accuracy/cat": 0.25}


def test_the_last_matrix_of_each_tag_is_drawn():
    tables = ClassTables(["cat", "dog"], lambda tag, matrix: bytes([matrix.sum()]))
    tables.by_class(METRICS)
    tables.by_class({"test/confusion": np.array([[2, 3], [4, 5]])})
    assert list(tables.pictures()) == [("test/confusion", bytes([14]))]


def test_a_picture_that_cannot_be_drawn_is_warned_of(caplog):
    def broken(tag, matrix):
        raise RuntimeError("no font")

    tables = ClassTables(["cat", "dog"], broken)
    tables.by_class(METRICS)
    assert list(tables.pictures()) == []
    assert "test/confusion was not drawn: RuntimeError: no font" in caplog.text
