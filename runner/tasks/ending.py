"""How a run ended: gathered while it goes on, written as ``summary.json`` whatever happens."""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from time import perf_counter
from typing import Any, Self

from runner import __version__
from runner.device import compile_clock
from runner.errors import DivergedError, InterruptedRunError, TerminatedRunError
from runner.records.recorder import Recorder
from runner.records.summary import params_sha256, write_summary

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


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
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.summary = self._summary(_status(error))
        write_summary(self.folder, self.summary)

    def _summary(self, status: str) -> dict[str, Any]:
        recorder = self.recorder
        steps = recorder.steps if recorder else 0
        return {
            "status": status,
            "steps": steps,
            "epochs": steps / self.steps_per_epoch if self.steps_per_epoch else None,
            "seed": self.seed,
            "metrics": dict(recorder.last_metrics) if recorder else {},
            "best": recorder.best if recorder else None,
            "steps_per_second": recorder.steps_per_second if recorder else None,
            "seconds": {
                "total": perf_counter() - self.started,
                "to_first_step": recorder.seconds_to_first_step if recorder else None,
                "compile": compile_clock.seconds - self.compiled,
            },
            "device": self.device,
            "params": self.params_count,
            "params_sha256": None if self.params is None else params_sha256(self.params),
            "versions": {
                "python": python_version(),
                "runner": __version__,
                **{name: version(name) for name in LIBRARIES},
            },
        }


def _status(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    if isinstance(error, InterruptedRunError | TerminatedRunError | KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"
