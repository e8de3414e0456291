"""Writes files that survive a crash of the process or the machine."""

import os
from contextlib import suppress
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Writes a file so that a crash leaves either what was there before or all of ``content``.

    Raises:
      OSError: it cannot be written; the file is unchanged.
    """
    # Named after the process, as two processes may write the same file at once.
    prepared = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        prepared.unlink(missing_ok=True)
        with prepared.open("xb") as file:  # never follows an existing link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        prepared.replace(path)
    finally:
        with suppress(OSError):
            prepared.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file's contents, or the names in a folder, are on the disk.

    Windows cannot open a folder; there, folders are not synced.

    Raises:
      OSError: the disk fails.
    """
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
