"""Leaves a summary of a run that ends before its task keeps one: while jax is imported, say."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from runner.cli import done_before_a_signal_ends_it
from runner.config import Config
from runner.errors import StorageError
from runner.records.stopping import ending_what_is_stuck
from runner.records.summary import SUMMARY, blank_summary, write_summary

# The tasks that leave a summary.
_SUMMARISED = ("train",)


@contextmanager
def summarised(folder: Path, config: Config) -> Iterator[None]:
    """However the body ends, by a signal or an error, ``folder`` has a summary; its own counts."""
    if config.task.name not in _SUMMARISED:
        yield
        return
    started = perf_counter()
    # Made beforehand: a signal may come in the middle of an import, where nothing else is imported.
    summary = blank_summary("failed", seed=config.seed, seconds=0.0)

    def write(status: str) -> None:
        if not (folder / SUMMARY).exists():
            summary["status"] = status
            summary["seconds"]["total"] = perf_counter() - started
            write_summary(folder, summary)

    with done_before_a_signal_ends_it(lambda: write("stopped")), ending_what_is_stuck():
        try:
            yield
        except Exception:
            with suppress(StorageError):  # what came first is what went wrong
                write("failed")
            raise
