"""Writes a run's ``summary.json`` and hashes its parameters."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from runner.errors import StorageError


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Writes ``summary`` to ``summary.json`` in one piece: a reader sees all of it or none.

    What is not a finite number becomes null, as JSON has no word for it; numpy's and JAX's
    scalars and arrays become plain numbers and lists.

    Raises:
      StorageError: the file cannot be written; what stood there before is untouched.
    """
    path = folder / "summary.json"
    text = json.dumps(_plain(summary), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    temporary = folder / f".summary.json.{os.getpid()}"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        problem = f"cannot be written ({error.strerror or error})"
        raise StorageError(str(path), problem, "make room, or choose another folder") from error
    return path


def params_sha256(params: Any) -> str:
    """A hash over all parameters in path order: path, dtype, shape and bytes of each.

    Equal for two pytrees of arrays exactly when these are; hexadecimal.
    """
    # Here rather than above: whoever only writes a summary waits for no jax.
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
        digest.update(_little_endian(array).tobytes())
    return digest.hexdigest()


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
    return _plain(np.asarray(value).tolist())


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system lets a folder be opened (not Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
