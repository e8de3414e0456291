"""Writes a run's ``summary.json`` and hashes its parameters."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from runner import __version__
from runner.durable import sync
from runner.errors import StorageError
from runner.records.json_files import read_json

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
SUMMARY = "summary.json"
# Written under this name first: a summary under its own name means that the run has ended.
_PREPARED = f".{SUMMARY}"
# Several times the size of a summary.
_RESERVED_BYTES = 8192


def blank_summary(status: str, *, seed: int, seconds: float) -> dict[str, Any]:
    """The summary of a run that ended before its first step; unknown values are null.

    Args:
      seconds: how long the run took.
    """
    return {
        "status": status,
        "steps": 0,
        "epochs": None,
        "seed": seed,
        "metrics": {},
        "best": None,
        "steps_per_second": None,
        "seconds": {"total": seconds, "to_first_step": None, "compile": None},
        "device": None,
        "params": None,
        "params_sha256": None,
        "goodput": None,
        "logging_lost_at_step": None,
        "checkpoint": {"last": None, "best": None},
        "parent": None,
        "overrides": [],
        "settings": {},
        "versions": dict(_versions()),
    }


def reserve_summary(folder: Path) -> None:
    """Reserves disk space for the summary, before the run's events can fill the disk.

    Raises:
      StorageError: the folder cannot be written, or the disk is full.
    """
    prepared = folder / _PREPARED
    try:
        prepared.unlink(missing_ok=True)
        with prepared.open("xb") as file:  # never follows an existing link
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_be_written(folder / SUMMARY, error) from error


def release_reserved(folder: Path) -> None:
    """Releases the space that ``reserve_summary`` has reserved; the summary stays as it is."""
    with suppress(OSError):
        (folder / _PREPARED).unlink(missing_ok=True)


def read_status(folder: Path) -> str | None:
    """How the run in ``folder`` ended, or None if it has no summary that can be read."""
    try:
        summary = read_json(folder / SUMMARY)
    except (OSError, ValueError):
        return None
    return summary.get("status") if isinstance(summary, dict) else None


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Writes ``summary`` to ``summary.json`` atomically.

    NaN and infinities, which JSON does not have, become null; NumPy's and JAX's scalars and arrays
    become plain numbers and lists.

    Raises:
      StorageError: the file cannot be written; an earlier one is unchanged.
    """
    path = folder / SUMMARY
    text = json.dumps(_plain(summary), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    prepared = folder / _PREPARED
    try:
        with open(prepared, "w", encoding="utf-8", opener=_open_as_it_is) as file:
            file.write(text)
            file.truncate()
            os.fsync(file.fileno())
        prepared.replace(path)
        with suppress(OSError):  # the file itself is written
            sync(folder)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    return path


def params_sha256(params: Any) -> str:
    """The SHA-256, in hexadecimal, of the path, dtype, shape and bytes of all parameters.

    Parameters are taken in path order, so equal ones have equal hashes however they are stored.
    """
    # Imported here, so that a summary without parameters does not need them.
    import numpy as np
    from jax.tree_util import keystr, tree_leaves_with_path

    leaves = {
        keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in tree_leaves_with_path(params)
    }
    digest = hashlib.sha256()
    for path in sorted(leaves):
        array = leaves[path]
        # As JSON, so that a header cannot be mistaken for the bytes of another array.
        header = json.dumps([path, array.dtype.name, array.shape])
        digest.update(header.encode() + b"\n")
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


@lru_cache
def _versions() -> tuple[tuple[str, str], ...]:
    libraries = ((name, version(name)) for name in LIBRARIES)
    return ("python", python_version()), ("runner", __version__), *libraries


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain(value.tolist())


def _open_as_it_is(path: str, flags: int) -> int:
    """Opens without truncating, to keep the space reserved on a disk that may be full by now."""
    return os.open(path, (flags & ~os.O_TRUNC) | os.O_NOFOLLOW, 0o666)


def _cannot_be_written(path: Path, error: OSError) -> StorageError:
    with suppress(OSError):
        path.with_name(_PREPARED).unlink(missing_ok=True)
    problem = f"cannot be written ({error.strerror or error})"
    return StorageError(str(path), problem, "free some space, or choose another folder")
