"""Writes a run's TensorBoard events; training continues if they cannot be written."""

import io
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from runner.records.encoding import record, scalar_records
from runner.records.protos import (
    Event,
    HParamsPluginData,
    SessionEndInfo,
    SessionLog,
    Status,
    Summary,
    SummaryMetadata,
    summary,
)

_log = logging.getLogger("runner")


class EventWriter:
    """One attempt's event file in a run folder; used by one thread at a time.

    Writes are unbuffered: when a method returns, its events are in the file. After the first write
    that fails (a full disk, a quota), it warns, truncates the file to whole records, and ignores
    further calls; it never raises because of the disk.

    Attributes:
      lost_at_step: the first step that is not in the file, or None while nothing is lost.
    """

    def __init__(self, folder: Path, *, purge_step: int | None = None) -> None:
        """Opens a new file.

        Args:
          purge_step: TensorBoard hides what earlier attempts logged at this step and later.
        """
        self.path = folder / _file_name()
        self._file: io.RawIOBase | None = None
        self._good_bytes = 0
        self.lost_at_step: int | None = None
        self._step = purge_step or 0  # of the next scalars to be written
        self._has_hparams = False
        try:
            # Exclusive: an earlier attempt's events are never truncated.
            self._file = self.path.open("xb", buffering=0)
        except OSError as error:
            self._give_up(error)
        self._event(file_version="brain.Event:2")
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._event(step=purge_step, session_log=start)

    def scalars(
        self, steps: np.ndarray, columns: Mapping[str, np.ndarray], wall_times: np.ndarray
    ) -> None:
        """Writes one event per step, holding every column's value.

        Args:
          steps: int [n].
          columns: TensorBoard tag → values [n].
          wall_times: seconds since the epoch [n].
        """
        if len(steps):
            self._step = int(steps[0])
        for block in scalar_records(steps, columns, wall_times):
            self._write(block)
        if len(steps):
            self._step = int(steps[-1]) + 1

    def hparams(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Writes the run's settings for TensorBoard's HParams tab.

        There is no list of the settings and metrics to show: TensorBoard would use the list of one
        run for all runs. Without it, the tab has a column for every setting of any run.
        """
        _, session_start, _ = summary.hparams(dict(values), {})
        self._event(summary=session_start)
        self._has_hparams = True

    def text(self, tag: str, text: str, *, step: int = 0) -> None:
        """Writes a text, which TensorBoard shows as Markdown."""
        self._event(step=step, summary=summary.text(tag, text))

    def picture(self, tag: str, png: bytes, *, step: int = 0) -> None:
        """Writes a PNG image, to be shown at ``step``."""
        width, height = struct.unpack(">II", png[16:24])  # the IHDR chunk, always the first
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        value = Summary.Value(tag=tag, image=image)
        self._event(step=step, summary=Summary(value=[value]))

    def flush(self) -> None:
        """Waits until everything written is on the disk."""
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._give_up(error)

    def close(self, *, succeeded: bool = True) -> None:
        """Marks the end of the session for the HParams tab and closes the file; idempotent."""
        if self._has_hparams:
            self._event(summary=_session_end(succeeded))
            self._has_hparams = False
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            _attempt(file.close)

    def _event(self, **fields: object) -> None:
        self._write(record(Event(wall_time=time.time(), **fields).SerializeToString()))

    def _write(self, block: bytes) -> None:
        if self._file is None:
            return
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._give_up(error)
        else:
            self._good_bytes += len(block)

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        self.lost_at_step = self._step
        if file is not None:
            _attempt(lambda: file.truncate(self._good_bytes))
            _attempt(file.close)
        _log.warning(
            "%s: TensorBoard events can no longer be written (%s); training continues without them",
            self.path,
            error.strerror or error,
        )


def _file_name() -> str:
    """A name that TensorBoard recognises, that sorts by time and is unique."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    host = socket.gethostname()
    return f"events.out.tfevents.{seconds}.{host}.{nanoseconds:09d}.{os.getpid()}"


def _session_end(succeeded: bool) -> object:
    status = Status.Value("STATUS_SUCCESS" if succeeded else "STATUS_FAILURE")
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    plugin = SummaryMetadata.PluginData(
        plugin_name="hparams",
        content=HParamsPluginData(session_end_info=end, version=0).SerializeToString(),
    )
    metadata = SummaryMetadata(plugin_data=plugin)
    tag = "_hparams_/session_end_info"
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata)])


def _attempt(action: Callable[[], object]) -> None:
    """Runs a cleanup action; ignores its failure, which is likely after a failed write."""
    try:
        action()
    except OSError as error:
        _log.debug("while closing the TensorBoard events: %s", error)
