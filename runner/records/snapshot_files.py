"""Snapshots on disk: the parameters at cycle ends, each a safetensors file in ``snapshots/``.

A file is written under another name and renamed once it is on the disk. Its metadata holds the
SHA-256 of its arrays, so that damage is detected.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from runner.durable import write_file
from runner.errors import ConfigError, StorageError, reason
from runner.records.checkpoints import Checkpoint, Checkpoints
from runner.records.run_folder import SNAPSHOTS, steps_of
from runner.records.table import replaced, write_table

SWA = "swa"

_SUFFIX = ".safetensors"
_log = logging.getLogger("runner")


class Snapshots:
    """The snapshots of a run folder; written by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute() / SNAPSHOTS

    def steps(self) -> list[int]:
        """The steps of all snapshots, rising; none of them is verified."""
        return steps_of([path.stem for path in self.folder.glob(f"[0-9]*{_SUFFIX}")])

    def intact_steps(self) -> list[int]:
        """The steps of the snapshots that are intact; a warning names each damaged one."""
        found = []
        for step in self.steps():
            try:
                self.load(step)
            except StorageError as error:
                _log.warning("%s: %s; it is left out", error.key, error.problem)
            else:
                found.append(step)
        return found

    def path(self, name: int | str) -> Path:
        """The file of the snapshot of a step, or of ``swa``."""
        return self.folder / f"{name}{_SUFFIX}"

    def save(self, name: int | str, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a snapshot durably, in place of an earlier one of that name.

        Raises:
          StorageError: it cannot be written; an earlier one is unchanged.
        """
        path = self.path(name)
        contiguous = {key: np.asarray(array, order="C") for key, array in arrays.items()}
        content = save(contiguous, {"sha256": _sha256(contiguous)})
        try:
            self.folder.mkdir(exist_ok=True)
            write_file(path, content)
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error})"
            remedy = "free some space, or choose another folder; earlier snapshots are kept"
            raise StorageError(str(path), problem, remedy) from error

    def load(self, name: int | str) -> dict[str, np.ndarray]:
        """The arrays of a snapshot by path, such as ``params/Dense_0/kernel``, after verifying it.

        Raises:
          StorageError: there is no such snapshot, or it is damaged.
        """
        path = self.path(name)
        if not path.is_file():
            known = [str(step) for step in self.steps()] + [SWA] * self.path(SWA).is_file()
            problem = "there is no such snapshot"
            raise StorageError(str(path), problem, f"known: {', '.join(known) or 'none'}")
        try:
            with safe_open(path, "np") as file:
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                expected = (file.metadata() or {}).get("sha256")
            if _sha256(arrays) != expected:
                raise ValueError("its content differs from what was saved")
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,  # a type that NumPy does not have
            SafetensorError,
        ) as error:
            remedy = "remove it, or restore it from a copy"
            raise StorageError(str(path), f"is damaged ({reason(error)})", remedy) from error
        return arrays

    def discard_after(self, step: int) -> None:
        """Removes the snapshots of later steps, which training from ``step`` writes again."""
        for later in self.steps():
            if later > step:
                self.path(later).unlink(missing_ok=True)


class SnapshotSaver:
    """Saves a snapshot at each cycle end, in the recorder's thread.

    A snapshot is on the disk before a checkpoint of the same or a later step is saved, so that a
    resumed run has every snapshot up to its checkpoint.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        ends: Sequence[int],
        *,
        to_arrays: Callable[[Any], Mapping[str, np.ndarray] | None],
    ) -> None:
        """
        Args:
          ends: rising steps after which to save.
          to_arrays: the arrays of a state by path, or None for a state that must not be saved.
        """
        self._snapshots, self._ends, self._to_arrays = snapshots, ends, to_arrays

    def is_due(self, step: int) -> bool:
        """Whether a snapshot of the state after ``step`` updates is to be saved."""
        return step in self._ends

    def save(self, step: int, state: Any) -> None:
        """Saves a snapshot of ``state``; waits for the device.

        Raises:
          StorageError: it cannot be written.
        """
        arrays = self._to_arrays(state)
        if arrays is None:
            _log.warning("the state after step %d is not finite; there is no snapshot of it", step)
        else:
            self._snapshots.save(step, arrays)


class SnapshotTable:
    """``snapshots.csv``: one row for each snapshot of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "snapshots.csv"

    def replace(self, columns: Mapping[str, np.ndarray]) -> None:
        """Writes the table atomically, in place of that of an earlier attempt.

        Args:
          columns: by name, [snapshots]; the first one is the rising ``step``.

        Raises:
          StorageError: it cannot be written.
        """
        replaced(self.path, partial(write_table, blocks=[columns]))

    def last_step(self) -> int:
        """The step of the last row; 0 without a table, or with one that cannot be read."""
        try:
            # Not a pipe, which could be read for ever.
            text = self.path.read_text(encoding="ascii") if self.path.is_file() else ""
            return int(text.splitlines()[-1].partition(",")[0])
        except (OSError, ValueError, IndexError):
            return 0


def task_checkpoint(
    resume: str | None, *, step: int | None, best: bool, snapshot: int | str | None
) -> Checkpoint:
    """The checkpoint, or the snapshot in its place, that a task reads from the run ``resume``.

    Raises:
      ConfigError: no run is named; or as ``Checkpoints.saved`` and ``with_snapshot``, which also
        raise StorageError.
    """
    if resume is None:
        raise ConfigError("resume", "is null, but the task needs a run", "add resume=RUN_FOLDER")
    saved = Checkpoints(Path(resume)).saved(step, best=best, key="task.best")
    is_chosen = best or step is not None
    return with_snapshot(saved, snapshot, is_chosen=is_chosen, key="task.snapshot")


def with_snapshot(
    checkpoint: Checkpoint, name: int | str | None, *, is_chosen: bool, key: str = "snapshot"
) -> Checkpoint:
    """A checkpoint with the parameters of a snapshot of its run; ``name`` is None for its own.

    Args:
      name: the step of the snapshot, or ``swa`` for the average of all, whose step is that of the
        last one.
      is_chosen: whether the checkpoint was asked for by its step or as the best one.
      key: that of ``name``, for errors.

    Raises:
      ConfigError: both a checkpoint and a snapshot were asked for.
      StorageError: there is no such snapshot, or it is damaged.
    """
    if name is None:
        return checkpoint
    if is_chosen:
        problem = f"{name}, but step or best chooses a checkpoint"
        raise ConfigError(key, problem, "give one of them")
    snapshots = Snapshots(checkpoint.path.parents[1])
    arrays = snapshots.load(name)
    step = max(snapshots.steps(), default=checkpoint.step) if isinstance(name, str) else name
    return replace(checkpoint, step=step, path=snapshots.path(name), arrays=arrays)


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
