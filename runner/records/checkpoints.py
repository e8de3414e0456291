"""Checkpoints on disk: arrays written by Orbax, with a manifest that detects any damage.

A checkpoint is the folder ``checkpoints/<step>``:

  state/         the arrays, in Orbax's format
  record.json    the names of the arrays, and the settings and metrics of the run
  manifest.json  the SHA-256 of every other file, and of itself

It is written under another name and renamed once everything is on the disk, so a folder that is
named by a step is complete. A crash leaves at most one incomplete folder, which is ignored and
removed by the next save.
"""

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.durable import sync
from runner.errors import ConfigError, StorageError, reason
from runner.records.array_files import read_arrays, write_arrays
from runner.records.json_files import read_json
from runner.records.run_folder import CHECKPOINTS, require_checkpoint, saved_steps
from runner.records.run_record import check_run_record

FORMAT = 1

_STATE, _RECORD, _MANIFEST = "state", "record.json", "manifest.json"
_DAMAGED = ".damaged"
_log = logging.getLogger("runner")


class NewerFormatError(StorageError):
    """A newer version of the runner has written the checkpoint."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
      arrays: by path, such as ``params/Dense_0/kernel``.
      record: as given to ``save``.
    """

    step: int
    path: Path
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of a run folder; written by one process at a time.

    Args:
      keep: how many of the newest to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder.absolute() / CHECKPOINTS
        self._keep = keep

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, rising; none of them is verified."""
        return saved_steps(self.folder.parent)

    def save(self, step: int, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> Path:
        """Saves a checkpoint durably and verifies it, unless there is an intact one of that step.

        Checkpoints of later steps are renamed: since a run continues from its newest intact
        checkpoint, they are damaged and must not be kept in place of intact ones.

        Raises:
          StorageError: it cannot be written; the checkpoints before it are unchanged.
        """
        path = self.folder / str(step)
        for later in self.steps():
            if later > step:
                _set_aside(self.folder / str(later))
        if path.exists():
            try:
                self.load(step)
            except StorageError:
                _set_aside(path)
            else:
                return path
        prepared = self.folder / f".{step}"
        try:
            self._remove_unfinished()
            _write(prepared, arrays, record)
            prepared.replace(path)
            sync(self.folder)
            _read_manifest(path)
        except (OSError, ValueError) as error:
            shutil.rmtree(prepared, ignore_errors=True)
            problem = f"cannot be written ({_system_reason(error)})"
            remedy = "free some space, or choose another folder; earlier checkpoints are kept"
            raise StorageError(str(path), problem, remedy) from error
        return path

    def saved(
        self, step: int | None = None, *, best: bool = False, key: str = "best"
    ) -> Checkpoint:
        """The checkpoint of ``step``, that of the best evaluation, or the newest intact one.

        Raises:
          ConfigError: both ``step`` and ``best`` are given; ``key`` is that of ``best``.
          StorageError: see ``load`` and ``newest``; or there is no such checkpoint.
        """
        if best and step is not None:
            raise ConfigError(key, f"true, but step is {step}", "give one of them")
        known = f"known: {', '.join(map(str, self.steps())) or 'none'}"
        if step is None:
            found = self.newest()
            if found is None:
                remedy = "name a run that has saved one"
                raise StorageError(str(self.folder), "holds no checkpoint", remedy)
            if not best:
                return found
            figures = found.record.get("figures")
            evaluated = figures.get("best") if isinstance(figures, dict) else None
            step = evaluated.get("step") if isinstance(evaluated, dict) else None
        if step is None or (best and step not in self.steps()):
            problem = "holds no checkpoint of the best evaluation"
            raise StorageError(str(self.folder), problem, known)
        require_checkpoint(self.folder.parent, step)
        return self.load(step)

    def prune(self, *, kept: Callable[[int], bool]) -> None:
        """Removes all but the newest checkpoints and those whose step is ``kept``."""
        for step in self.steps()[: -self._keep]:
            if not kept(step):
                # Renamed first, so that a partly removed folder is not mistaken for a checkpoint.
                unfinished = self.folder / f".{step}"
                with suppress(OSError):
                    (self.folder / str(step)).replace(unfinished)
                shutil.rmtree(unfinished, ignore_errors=True)

    def load(self, step: int) -> Checkpoint:
        """Reads a checkpoint after verifying every file.

        Raises:
          StorageError: the step has no checkpoint, it is damaged, or a newer version wrote it.
        """
        path = self.folder / str(step)
        remedy = "remove it to use the previous checkpoint"
        try:
            _read_manifest(path)
            record = read_json(path / _RECORD)
            if record["format"] > FORMAT:
                problem = f"was written by a newer version (format {record['format']})"
                raise NewerFormatError(str(path), problem, "update the runner")
            check_run_record(record["run"])
            stored = read_arrays(path / _STATE)
            arrays = {
                name: stored[name] if math.prod(shape) else np.zeros(shape, dtype)
                for name, (dtype, shape) in record["arrays"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(str(path), f"is damaged ({reason(error)})", remedy) from error
        return Checkpoint(step, path, arrays, record["run"])

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is intact, or None if there is none at all.

        Logs a warning for each damaged one.

        Raises:
          StorageError: all checkpoints are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except NewerFormatError:
                raise
            except StorageError as error:
                _log.warning("%s: %s; the previous checkpoint is used", error.key, error.problem)
        if not steps:
            return None
        problem = f"all checkpoints are damaged ({', '.join(map(str, steps))})"
        remedy = "restore them from a copy, or remove the folder to start again at step 0"
        raise StorageError(str(self.folder), problem, remedy)

    def _remove_unfinished(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*"):
            if path.name[1:].isdecimal():
                shutil.rmtree(path, ignore_errors=True)


def _write(folder: Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    folder.mkdir()
    write_arrays(folder / _STATE, {name: array for name, array in arrays.items() if array.size})
    described = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    written = {"format": FORMAT, "arrays": described, "run": record}
    (folder / _RECORD).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    _sync_tree(folder)
    hashes = {name: _sha256(folder / name) for name in _file_names(folder)}
    (folder / _MANIFEST).write_bytes(_manifest(hashes))
    sync(folder / _MANIFEST)
    sync(folder)


def _manifest(hashes: Mapping[str, str]) -> bytes:
    """The only valid manifest of these files, so that a change of any byte is noticed."""
    files = json.dumps(hashes, indent=1, sort_keys=True)
    digest = hashlib.sha256(files.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "files": {files}}}\n'.encode()


def _read_manifest(path: Path) -> None:
    """Verifies a checkpoint.

    Raises:
      OSError: a file cannot be read.
      ValueError: a file is damaged, missing or not listed.
    """
    hashes = {name: _sha256(path / name) for name in _file_names(path)}
    content = (path / _MANIFEST).read_bytes()  # a regular file: _file_names checks that
    if content != _manifest(hashes):
        listed = json.loads(content)["files"]
        wrong = sorted(name for name in {*listed, *hashes} if listed.get(name) != hashes.get(name))
        raise ValueError(f"{wrong[0] if wrong else _MANIFEST} differs from what was saved")


def _file_names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"{path.name} is not a file")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != _MANIFEST:
            yield name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _system_reason(error: Exception) -> str:
    """The system's reason, such as "No space left on device", from a long message of Orbax."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else reason(error)


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name}{_DAMAGED}")
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(OSError):
        path.replace(aside)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
