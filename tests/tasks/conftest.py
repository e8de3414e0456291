"""Shared by the tests of tasks: runs of the command line in this process, and what they left."""

import csv
import json

import pytest

from runner.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command line in this process, in an empty folder; returns (exit code, folder)."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides, name="run"):
        folder = tmp_path / name
        return main([f"hydra.run.dir={folder}", *overrides]), folder

    return run


@pytest.fixture
def summary():
    """Reads a run folder's ``summary.json``."""
    return lambda folder: json.loads((folder / "summary.json").read_text())


@pytest.fixture
def read_table():
    """Reads a ``schedule.csv``: its header, then its rows, all of it texts."""

    def read(path):
        with path.open(newline="") as file:
            return list(csv.reader(file))

    return read
