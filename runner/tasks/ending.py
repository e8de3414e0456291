"""How a run ended: gathered while it goes on, written as ``summary.json`` whatever happens."""

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from runner.errors import DivergedError, InterruptedRunError, TerminatedRunError
from runner.experiment.device import compile_clock
from runner.records.recorder import Recorder
from runner.records.summary import (
    blank_summary,
    params_sha256,
    reserve_summary,
    write_summary,
)


@dataclass
class Ending:
    """The context of a run: however it is left, the summary is written.

    Its fields are filled in as they become known; what was not when the run ended stays null in
    the summary. ``params`` are the trained parameters, set once training is over; ``summary`` is
    what was written as the run ended.
    """

    folder: Path
    seed: int
    device: str | None = None
    steps_per_epoch: int | None = None
    params_count: int | None = None
    params: Any = None
    recorder: Recorder | None = None
    started: float = field(default_factory=perf_counter)
    compiled: float = field(default_factory=lambda: compile_clock.seconds)
    summary: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        reserve_summary(self.folder)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self._write(_status(error))
        except KeyboardInterrupt:  # a second signal; there is no third one
            self._write(_status(error))
            raise

    def _write(self, status: str) -> None:
        self.summary = self._summary(status)
        write_summary(self.folder, self.summary)

    def _summary(self, status: str) -> dict[str, Any]:
        summary = blank_summary(status, seed=self.seed, seconds=perf_counter() - self.started)
        summary["seconds"]["compile"] = compile_clock.seconds - self.compiled
        summary |= {"device": self.device, "params": self.params_count}
        if self.params is not None and status != "failed":  # they may be what failed
            summary["params_sha256"] = params_sha256(self.params)
        if self.recorder is not None:
            summary["seconds"]["to_first_step"] = self.recorder.seconds_to_first_step
            summary |= self._figures(self.recorder)
        return summary

    def _figures(self, recorder: Recorder) -> dict[str, Any]:
        per_epoch = self.steps_per_epoch
        return {
            "steps": recorder.steps,
            "epochs": recorder.steps / per_epoch if per_epoch else None,
            "metrics": dict(recorder.last_metrics),
            "best": recorder.best,
            "steps_per_second": recorder.steps_per_second,
        }


def _status(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    if isinstance(error, InterruptedRunError | TerminatedRunError | KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"
