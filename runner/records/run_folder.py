"""Claims a run folder, so that no two runs ever write into one."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from runner.errors import ConfigError, StorageError


def claim(folder: Path, *, explicit: bool) -> Path:
    """Makes ``folder`` this run's own; where it was not asked for by name, the next free one.

    The claim is the creation of ``<folder>/.hydra``: of two runs started in the same instant one
    gets it, and the other goes on to ``<folder>-1``, ``<folder>-2``, ...

    Raises:
      ConfigError: ``explicit``, and ``folder`` already holds a run.
      StorageError: the folder cannot be created or written.
    """
    for candidate in [folder] if explicit else _candidates(folder):
        if _attempt(candidate, _claim_run):
            return candidate
    raise ConfigError("hydra.run.dir", f"{folder} already holds a run", "name a folder of its own")


def claim_sweep(folder: Path, *, explicit: bool) -> Path:
    """Makes ``folder`` this sweep's; where it was not asked for by name, the next free one.

    The claim is the creation of ``<folder>/multirun.yaml``, which Hydra then fills. A folder asked
    for by name may hold one already.

    Raises:
      StorageError: the folder cannot be created or written.
    """
    found = (path for path in _candidates(folder) if _attempt(path, _claim_sweep) or explicit)
    return next(found)


def _candidates(folder: Path) -> Iterator[Path]:
    yield folder
    for number in count(1):
        yield folder.with_name(f"{folder.name}-{number}")


def _attempt(folder: Path, take: Callable[[Path], bool]) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take(folder)
    except OSError as error:
        # error.filename is the deepest path that failed, which says more than the folder alone.
        raise StorageError(
            str(folder),
            f"cannot be written ({error.strerror}: {error.filename})",
            "choose another folder with hydra.run.dir (or hydra.sweep.dir)",
        ) from error


def _claim_run(folder: Path) -> bool:
    # A summary without .hydra is a run's too (hydra.output_subdir=null); it is never overwritten.
    if (folder / "summary.json").exists():
        return False
    try:
        (folder / ".hydra").mkdir()
    except FileExistsError:
        return False
    return True


def _claim_sweep(folder: Path) -> bool:
    try:
        (folder / "multirun.yaml").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
