"""Writes the tables and pictures of a run folder; an error names the file."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from runner.errors import StorageError


def write_table(path: Path, blocks: Iterable[Mapping[str, np.ndarray | None]]) -> None:
    """Writes one row per entry; numbers read back to the same value, floats to the same float32.

    Args:
      blocks: consecutive rows, of which one block at a time is held in memory: column name →
        values [n], or None for a column that stays empty.

    Raises:
      StorageError: the file already exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="ascii", newline="\n") as file:
            for index, block in enumerate(blocks):
                if index == 0:
                    file.write(",".join(block) + "\n")
                file.write(_rows(block))
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def write_picture(path: Path, png: bytes) -> None:
    """Writes a PNG image.

    Raises:
      StorageError: the file already exists, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(png)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def replaced(path: Path, write: Callable[[Path], None]) -> None:
    """Replaces a file atomically: a crash leaves either the old or the new one.

    Args:
      write: creates a file at the path it is given.

    Raises:
      StorageError: the file cannot be written; the old one is unchanged.
    """
    prepared = path.with_name(f".{path.name}")
    try:
        prepared.unlink(missing_ok=True)
        write(prepared)
        prepared.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: Path, error: OSError) -> StorageError:
    problem = f"cannot be written ({error.strerror or error})"
    return StorageError(str(path), problem, "choose another folder, or free some space")


def _rows(block: Mapping[str, np.ndarray | None]) -> str:
    length = next(len(column) for column in block.values() if column is not None)
    columns = [_texts(column, length) for column in block.values()]
    return "".join(",".join(row) + "\n" for row in zip(*columns, strict=True))


def _texts(column: np.ndarray | None, length: int) -> list[str]:
    if column is None:
        return [""] * length
    if np.issubdtype(column.dtype, np.floating):
        # numpy writes a float32 in the fewest digits that read back to the same float32.
        column = np.asarray(column, np.float32)
    return column.astype(str).tolist()
