"""Claims run folders, so that two runs never write into the same one."""

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from runner.durable import write_file
from runner.errors import INT32_MAX, ConfigError, FolderInUseError, StorageError, shown
from runner.records.summary import SUMMARY

CHECKPOINTS, SNAPSHOTS = "checkpoints", "snapshots"
RANGE_EVENTS, RANGE_RESULT, OPTIONS = "range_test", "range_test.json", "scheduler"
RECORD = ".hydra"
# The folders inside a run folder that a run writes to.
_WRITTEN = (RECORD, CHECKPOINTS, SNAPSHOTS, RANGE_EVENTS, OPTIONS)
SETTINGS = "config.yaml"
# The files that Hydra's record consists of.
_RECORDED = (SETTINGS, "hydra.yaml", "overrides.yaml")

# Attempts may fail while other runs create and remove the folder, but not this many times.
_TRIES = 100

_MAX_DIGITS = len(str(INT32_MAX))

_log = logging.getLogger("runner")

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Claim:
    """A folder that belongs to this run alone.

    Attributes:
      is_new: whether the claim created the folder.
    """

    folder: Path
    is_new: bool

    def give_back(self) -> None:
        """Restores the folder to what it was before the claim, for a run that never began.

        Hydra's record and a summary, which cannot have been there before, are removed. If the
        folder holds anything else, everything stays; the folders above it always stay.
        """
        record = self.folder / RECORD
        with suppress(OSError):  # what cannot be removed stays
            if _names(self.folder) <= {RECORD, SUMMARY} and _names(record) <= {*_RECORDED}:
                (self.folder / SUMMARY).unlink(missing_ok=True)
                for name in _RECORDED:
                    (record / name).unlink(missing_ok=True)
                record.rmdir()
                if self.is_new:
                    self.folder.rmdir()


def claim(folder: Path, *, explicit: bool) -> Claim:
    """Claims ``folder`` for this run, or the next free name unless it was given explicitly.

    The claim is the creation of ``<folder>/.hydra``: of two runs started in the same instant one
    gets it, and the other tries ``<folder>-1``, ``<folder>-2``, ...

    Raises:
      ConfigError: ``explicit``, and ``folder`` already holds a run.
      StorageError: the folder cannot be created or written.
    """
    for candidate in [folder] if explicit else _candidates(folder):
        if taken := _attempt(candidate, _claim_run):
            return taken
    raise ConfigError("hydra.run.dir", f"{folder} already holds a run", "name another folder")


def claim_sweep(folder: Path, *, explicit: bool) -> Path:
    """Claims ``folder`` for this sweep, or the next free name unless it was given explicitly.

    The claim is the creation of ``<folder>/multirun.yaml``, which Hydra then fills: of two
    multiruns started in the same instant one gets it.

    Raises:
      ConfigError: ``explicit``, and ``folder`` already holds a multirun.
      StorageError: the folder cannot be created or written.
    """
    for candidate in [folder] if explicit else _candidates(folder):
        if _attempt(candidate, _claim_sweep):
            return candidate
    problem = f"{folder} already holds a multirun"
    raise ConfigError("hydra.sweep.dir", problem, "name another folder")


def discard_unbegun(folder: Path) -> None:
    """Removes the claim of a run that was killed before it had recorded its settings.

    Raises:
      FolderInUseError: that run is alive.
    """
    record = folder / RECORD
    if record.is_dir() and not (record / SETTINGS).exists() and not (folder / SUMMARY).exists():
        with lock(folder), suppress(OSError):  # claiming the folder reports what cannot be removed
            for name in _RECORDED:
                for path in (record / name, *record.glob(f".{name}.*")):
                    path.unlink(missing_ok=True)
            record.rmdir()


def replace_file(path: Path, text: str) -> None:
    """Writes a file atomically: a crash leaves either its old content or all of ``text``.

    Raises:
      StorageError: it cannot be written; it is unchanged.
    """
    try:
        write_file(path, text.encode())
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise StorageError(
            str(path), problem, "free some space, or choose another folder"
        ) from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Context manager that holds a run folder for this process; a crash releases it.

    The folder itself is locked (``flock``), so that no file remains. Where the file system has no
    such locks, nothing is locked.

    Raises:
      FolderInUseError: another process holds it.
      StorageError: it has a link where a run writes, which may lead to other people's files.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem, remedy = "another run is using it", "wait for it to end, or stop it"
            raise FolderInUseError(str(folder), problem, remedy) from error
        except OSError as error:
            _log.debug("%s cannot be locked: %s", folder, error)
        for name in _WRITTEN:
            if (folder / name).is_symlink():
                problem = f"is a link (to {os.readlink(folder / name)}), and runs write into it"
                raise StorageError(str(folder / name), problem, "replace it with a folder")
        yield
    finally:
        os.close(handle)


def fork_source(name: str) -> tuple[Path, int | None]:
    """The run folder and the step that ``init_from=RUN_FOLDER[@STEP]`` names.

    Raises:
      ConfigError: the step is not a whole number.
    """
    folder, at, step = name.rpartition("@") if "@" in name else (name, "", "")
    if at and not (step.isascii() and step.isdecimal() and len(step) <= _MAX_DIGITS):
        problem = f"{shown(step)} is not a step"
        raise ConfigError("init_from", problem, "write RUN_FOLDER or RUN_FOLDER@STEP")
    return Path(folder), int(step) if at else None


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` records the settings of a run."""
    config = folder / RECORD / SETTINGS
    try:
        return config.is_file() and config.stat().st_size > 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # no folder has such a name
            raise
        return False


def saved_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a run folder, rising; none of them is verified.

    Raises:
      StorageError: the folder cannot be read.
    """
    checkpoints = folder.absolute() / CHECKPOINTS
    try:
        names = [path.name for path in checkpoints.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise StorageError(str(checkpoints), problem, "check its permissions") from error
    return steps_of(names)


def steps_of(names: Iterable[str]) -> list[int]:
    """The steps among ``names``, rising; a step is written without leading zeros."""
    digits = (name for name in names if name.isascii() and name.isdecimal())
    steps = {name: int(name) for name in digits if len(name) <= _MAX_DIGITS}
    return sorted(step for name, step in steps.items() if name == str(step) and step <= INT32_MAX)


def require_checkpoint(folder: Path, step: int | None) -> None:
    """Checks that a run folder holds a checkpoint of ``step``, or any at all if that is None.

    Raises:
      StorageError: it does not, or cannot be read.
    """
    steps, place = saved_steps(folder), str(folder.absolute() / CHECKPOINTS)
    if not steps and step is None:
        raise StorageError(place, "holds no checkpoint", "name a run that has saved one")
    if step is not None and step not in steps:
        known = ", ".join(map(str, steps)) or "none"
        raise StorageError(place, f"holds no checkpoint of step {step}", f"known: {known}")


def last_write(folder: Path) -> float:
    """When a run last wrote results to its folder, in seconds since the epoch.

    Hidden files are left out: a run that resumes has just written its settings and reserved its
    summary, and the time in which nothing ran must not count.
    """
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return max((path.lstat().st_mtime for path in shown), default=0.0)


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    for number in count(1):
        yield Path(f"{folder}-{number}")


def _attempt(folder: Path, take: Callable[[Path], Taken]) -> Taken:
    try:
        return take(folder)
    except OSError as error:
        raise StorageError(
            str(folder),
            f"cannot be written ({_reason(error)})",
            "choose another folder with hydra.run.dir (or hydra.sweep.dir)",
        ) from error


def _reason(error: OSError) -> str:
    # error.filename is the deepest path that failed, which says more than the folder alone.
    path = error.filename
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path} is a link to {os.readlink(path)}, which does not exist"
    return f"{error.strerror}: {path}"


def _claim_run(folder: Path) -> Claim | None:
    try:
        folder.mkdir(parents=True)
        is_new = True
    except FileExistsError:
        is_new = False
    # A summary without .hydra is a run's as well (hydra.output_subdir=null): never overwritten.
    if (folder / SUMMARY).exists():
        return None
    failure = OSError()
    for _ in range(_TRIES):
        try:
            # With its parents: another run may remove the folder at any time, even right after it
            # was created.
            (folder / RECORD).mkdir(parents=True)
            return Claim(folder, is_new)
        except (FileExistsError, FileNotFoundError) as error:
            if (folder / RECORD).is_dir():
                return None
            failure = error  # removed by another run, or blocked for good (a broken link)
    raise failure


def _claim_sweep(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "multirun.yaml").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
