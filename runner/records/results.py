"""Reads what the jobs of a multirun have recorded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.records.json_files import read_json
from runner.records.summary import SUMMARY


@dataclass(frozen=True)
class JobResult:
    """The result of a job, from its summary.

    Attributes:
      folder: relative to the folder of the multirun.
      overrides: of the job, as they were given.
      best: ``metric``, ``value`` and ``step`` of the best evaluation; None without one.
      seconds: the wall time of the run.
    """

    folder: Path
    overrides: tuple[str, ...]
    status: str
    steps: int
    best: dict[str, Any] | None
    seconds: float


def read_results(folder: Path) -> list[JobResult]:
    """The results of the jobs of the multirun in ``folder``, by the names of their folders.

    A folder without a summary that can be read is left out.
    """
    found = []
    for path in _run_folders(folder):
        try:
            summary = read_json(path / SUMMARY)
            result = JobResult(
                folder=path.relative_to(folder),
                overrides=tuple(summary["overrides"]),
                status=summary["status"],
                steps=summary["steps"],
                best=summary["best"],
                seconds=summary["seconds"]["total"],
            )
        except (OSError, ValueError, LookupError, TypeError):
            continue
        found.append(result)
    return found


def _run_folders(folder: Path) -> Iterator[Path]:
    """The folders with a summary, at any depth; folders inside them are not searched."""
    for path, folders, files in os.walk(folder):
        folders.sort(key=lambda name: (len(name.partition("_")[0]), name))  # 2 before 10
        if SUMMARY in files:
            folders.clear()
            yield Path(path)
