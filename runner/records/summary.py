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
from runner.errors import StorageError

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
SUMMARY = "summary.json"
# Where it is prepared: a reader looks for the name above, which stands for a run that has ended.
_PREPARED = f".{SUMMARY}"
# Several times what a summary takes.
_RESERVED_BYTES = 8192


def blank_summary(status: str, *, seed: int, seconds: float) -> dict[str, Any]:
    """The summary of a run that has ended before its first step; what it does not know is null.

    Args:
      seconds: that the run took.
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
        "versions": dict(_versions()),
    }


def reserve_summary(folder: Path) -> None:
    """Takes the room that the summary will need, before others (the run's events) fill the disk.

    Raises:
      StorageError: there is none.
    """
    prepared = folder / _PREPARED
    try:
        with prepared.open("wb") as file:
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_be_written(folder / SUMMARY, error) from error


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Writes ``summary`` to ``summary.json`` in one piece: a reader sees all of it or none.

    What is not a finite number becomes null, as JSON has no word for it; numpy's and JAX's
    scalars and arrays become plain numbers and lists.

    Raises:
      StorageError: the file cannot be written; what stood there before is untouched.
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
        _sync_folder(folder)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    return path


def params_sha256(params: Any) -> str:
    """A hash over all parameters in path order: path, dtype, shape and bytes of each.

    Equal for two pytrees of arrays exactly when these are; hexadecimal.
    """
    # Here rather than above: whoever only writes a summary waits for neither.
    import numpy as np
    from jax.tree_util import keystr, tree_leaves_with_path

    leaves = {
        keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in tree_leaves_with_path(params)
    }
    digest = hashlib.sha256()
    for path in sorted(leaves):
        array = leaves[path]
        # JSON delimits the path: no two headers run into each other's bytes.
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
    """Keeps the room that was reserved: a full disk may have no other."""
    return os.open(path, flags & ~os.O_TRUNC, 0o666)


def _cannot_be_written(path: Path, error: OSError) -> StorageError:
    with suppress(OSError):
        path.with_name(_PREPARED).unlink(missing_ok=True)
    problem = f"cannot be written ({error.strerror or error})"
    return StorageError(str(path), problem, "make room, or choose another folder")


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system lets a folder be opened (not Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
