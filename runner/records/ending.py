"""The end of a run: signals, its status, and its summary, which is written in every case."""

import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from time import perf_counter
from types import MappingProxyType
from typing import Any, Protocol, Self

from runner.errors import (
    DivergedError,
    InterruptedRunError,
    RunnerError,
    StorageError,
    TerminatedRunError,
    not_finite_message,
    stop_kind,
)
from runner.records.summary import (
    blank_summary,
    params_sha256,
    read_status,
    release_reserved,
    reserve_summary,
    write_summary,
)
from runner.signals import (
    EndAtOnceError,
    end_process,
    handled_by,
    save_requests_handled_by,
)


class Recorded(Protocol):
    """The figures of a run so far; see ``records.recorder.Recorder``."""

    @property
    def steps(self) -> int: ...
    @property
    def last_metrics(self) -> dict[str, float]: ...
    @property
    def best(self) -> dict[str, Any] | None: ...
    @property
    def steps_per_second(self) -> float | None: ...
    @property
    def seconds_to_first_step(self) -> float | None: ...
    @property
    def goodput(self) -> float | None: ...
    @property
    def logging_lost_at_step(self) -> int | None: ...
    @property
    def checkpoint(self) -> dict[str, str | None]: ...


class CompileTime(Protocol):
    """Counts the seconds of compilation in this process."""

    @property
    def seconds(self) -> float: ...


class Ending:
    """Context manager of a run, which writes ``summary.json`` however the run ends.

    Before ``begin`` there is nothing to save, and a signal ends the process at once. After it, the
    first signal sets ``stop_signal``, which training checks between chunks. A second one raises
    EndAtOnceError in the main thread; if that does not end the run within seconds, the process
    ends without unwinding.

    Attributes:
      started: the ``time.perf_counter()`` that the summary's seconds count from.
      stop_signal: the number of the first signal, or None.
      status: ``finished``, ``stopped``, ``diverged`` or ``failed``; None while the run goes on.
      device, steps_per_epoch, params_count, recorder: for the summary; until the task sets them,
        their entries are null.
      params: the trained parameters, set after training.
      parent: for the summary, the run and step whose state this run started from.
      overrides: of the command line, also for the summary.
      searched: the folders of the user's own options, quoted as in an override.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        leaves_summary: bool = True,
        settings: Mapping[str, Any] = MappingProxyType({}),
        overrides: Sequence[str] = (),
        searched: Sequence[str] = (),
    ) -> None:
        """
        Args:
          leaves_summary: whether the run has a summary, and its folder to itself.
          settings, overrides: for the summary.
        """
        self.started = perf_counter()
        self.stop_signal: int | None = None
        self.status: str | None = None
        self.device: str | None = None
        self.steps_per_epoch: int | None = None
        self.params_count: int | None = None
        self.params: Any = None
        self.recorder: Recorded | None = None
        self.parent: Mapping[str, Any] | None = None
        self._folder, self._seed, self._leaves_summary = folder, seed, leaves_summary
        self._settings, self.overrides = dict(settings), list(overrides)
        self.searched = tuple(searched)
        self._is_save_requested = False
        self._compile_clock: CompileTime | None = None
        self._compiled_before = 0.0
        self._has_second_signal = self._is_written = False
        self._writing = RLock()  # reentrant: a signal may interrupt the writing and write itself

    def __enter__(self) -> Self:
        """Starts to handle signals.

        Raises:
          StorageError: there is no space for the summary.
        """
        # Called for its imports: a signal handler may interrupt an import, so it must not import.
        blank_summary("stopped", seed=self._seed, seconds=0.0)
        with ExitStack() as stack:
            stack.enter_context(handled_by(self._handle, last_words=self._write_unhashed))
            stack.enter_context(save_requests_handled_by(self._request_save))
            if self._leaves_summary:
                reserve_summary(self._folder)
            self._signals = stack.pop_all()
        return self

    def begin(self, compile_clock: CompileTime) -> None:
        """Starts the run: from now on, a signal stops it instead of ending the process."""
        self.started = perf_counter()
        self._compiled_before = compile_clock.seconds
        self._compile_clock = compile_clock

    def is_stopping(self) -> bool:
        """Whether a signal has asked the run to stop."""
        return self.stop_signal is not None

    def take_save_request(self) -> bool:
        """Whether SIGUSR1 has asked for a checkpoint since the last call."""
        requested, self._is_save_requested = self._is_save_requested, False
        return requested

    def _request_save(self, _number: int, _frame: object) -> None:
        self._is_save_requested = True

    def stop_error(self, problem: str, remedy: str) -> RunnerError | None:
        """The error of a run that a signal stopped, with the signal as its key; else None."""
        if self.stop_signal is None:
            return None
        name = signal.Signals(self.stop_signal).name
        return stop_kind(self.stop_signal)(name, problem, remedy)

    def raise_if_stopped(self, step: int, steps: int) -> None:
        """Raises the error of a run that a signal stopped after ``step`` of its ``steps``."""
        stopped = self.stop_error(
            f"stopped after {step:,} of {steps:,} steps",
            f"what was recorded is kept; resume={self._folder} continues",
        )
        if stopped is not None and step < steps:
            raise stopped

    def keep_finished(self) -> bool:
        """Ends a run that an earlier attempt has finished; its summary stays as it is.

        Returns False, and changes nothing, if there is no summary of a finished run.
        """
        if read_status(self._folder) != "finished":
            return False
        self.status, self._leaves_summary = "finished", False
        release_reserved(self._folder)
        return True

    def finish(self, error: BaseException | None = None) -> dict[str, Any]:
        """Sets the status according to ``error``, writes the summary and returns it.

        Raises:
          StorageError: the summary cannot be written.
        """
        self.status = _status(error)
        try:
            return self._write()
        except KeyboardInterrupt:  # a second signal; a third one does not raise
            self._write()
            raise

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with self._signals:
            if self.status is None:
                try:
                    self.finish(error)
                except StorageError:
                    if error is None:  # else that error must not be hidden
                        raise

    def _handle(self, number: int, _frame: object) -> None:
        if self._compile_clock is None:  # before begin()
            end_process(number, last_words=self._write_unhashed)
        elif self.stop_signal is None:
            self.stop_signal = number
        elif not self._has_second_signal:  # a third must not interrupt the unwinding
            self._has_second_signal = True
            raise EndAtOnceError(number)

    def _write_unhashed(self) -> None:
        """Writes the summary of a process that ends at once, if it is missing; imports nothing."""
        with self._writing:
            if not self._is_written:
                self.status = self.status or "stopped"
                self._write(hashed=False)

    def _write(self, *, hashed: bool = True) -> dict[str, Any]:
        with self._writing:
            summary = self._summary()
            # After a failure, fetching the parameters may fail as well.
            if hashed and self.params is not None and self.status != "failed":
                summary["params_sha256"] = params_sha256(self.params)
            if self._leaves_summary:
                write_summary(self._folder, summary)
            self._is_written = True
        return summary

    def _summary(self) -> dict[str, Any]:
        seconds = perf_counter() - self.started
        summary = blank_summary(str(self.status), seed=self._seed, seconds=seconds)
        summary |= {"device": self.device, "params": self.params_count, "parent": self.parent}
        summary |= {"overrides": self.overrides, "settings": self._settings}
        if self._compile_clock is not None:
            compiled = self._compile_clock.seconds - self._compiled_before
            summary["seconds"]["compile"] = compiled
        if self.recorder is not None:
            summary["seconds"]["to_first_step"] = self.recorder.seconds_to_first_step
            summary |= self._figures(self.recorder)
        return summary

    def _figures(self, recorder: Recorded) -> dict[str, Any]:
        per_epoch = self.steps_per_epoch
        return {
            "steps": recorder.steps,
            "epochs": recorder.steps / per_epoch if per_epoch else None,
            "metrics": dict(recorder.last_metrics),
            "best": recorder.best,
            "steps_per_second": recorder.steps_per_second,
            "goodput": recorder.goodput,
            "logging_lost_at_step": recorder.logging_lost_at_step,
            "checkpoint": recorder.checkpoint,
        }


def _status(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    if isinstance(error, InterruptedRunError | TerminatedRunError | KeyboardInterrupt):
        return "stopped"
    is_diverged = isinstance(error, DivergedError) or not_finite_message(error) is not None
    return "diverged" if is_diverged else "failed"
