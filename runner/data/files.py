"""Opens the files of a data set; errors while they are read name the file."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from runner.errors import ConfigError, DataError

DOWNLOAD_AGAIN = "download it again"
# The highest compression ratio of deflate (zlib's documentation): a header that claims more is
# damaged.
MAX_DEFLATE_RATIO = 1032


def existing_folder(path: str, remedy: str) -> Path:
    """The folder at ``path``, where ``~`` is the home folder.

    Raises:
      DataError: there is none.
    """
    folder = Path(os.path.expanduser(path))
    if not os.path.isdir(folder):
        raise DataError(str(folder), "there is no such folder", remedy)
    return folder


def existing_file(path: str, remedy: str) -> Path:
    """The file at ``path``, where ``~`` is the home folder.

    Raises:
      DataError: there is none.
    """
    file = Path(os.path.expanduser(path))
    if not os.path.isfile(file):
        raise DataError(str(file), "there is no such file", remedy)
    return file


def check_file(path: Path | str) -> None:
    """Raises DataError if there is something at ``path`` that is not a file.

    A pipe, for one, could be read for ever.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(str(path), "is not a file", "replace it with a file, or remove it")


@contextmanager
def opened(path: Path, remedy: str = DOWNLOAD_AGAIN) -> Iterator[BufferedIOBase]:
    """The contents of a file, unpacked if its name ends in ``.gz``.

    Args:
      remedy: for a file that is damaged.

    Raises:
      DataError: the file cannot be opened, or reading it fails.
    """
    check_file(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(str(path), f"is damaged ({error})", remedy) from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: OSError) -> DataError:
    """The error for a file that the system does not read."""
    return DataError(str(path), f"cannot be read ({error.strerror or error})", "make it readable")


def missing_extra(package: str, extra: str) -> ConfigError:
    """The error for a data set that needs a package which is not installed."""
    problem = f"this data set needs the package {package}, which is not installed"
    return ConfigError("name", problem, f"run pip install 'cyclic-runner[{extra}]'")
