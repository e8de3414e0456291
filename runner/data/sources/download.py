"""Downloads the files of a published data set over https: resumable, and checked."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from runner.durable import sync
from runner.errors import DataError

_BLOCK = 2**20
_TIMEOUT = 30  # seconds without a byte
_PROGRESS_EVERY = 1.0  # seconds
# The SHA-256 protects the contents; https also hides from others what is downloaded.
ALLOWED_SCHEMES = ("https",)

# Ends a description of the folder that a user must give.
OR_DOWNLOADED = "or is to be created by dataset.download=true"
# Ends the remedy for a folder or a file that is missing.
OR_DOWNLOAD = "or set dataset.download=true"


@dataclass(frozen=True)
class Published:
    """A file of a publisher.

    Attributes:
      name: the name of the file in the data set's folder.
      url: where it is published.
      size: in bytes.
      sha256: of its contents, in hexadecimal.
    """

    name: str
    url: str
    size: int
    sha256: str


def fetch(files: Iterable[Published], folder: Path) -> None:
    """Downloads those files that ``folder`` does not have yet; creates the folder.

    An interrupted download is resumed by the next call. A file gets its name only once its contents
    are complete and checked. Progress is printed on standard error.

    Raises:
      DataError: a file cannot be downloaded or written, or its size or SHA-256 is not the expected
        one; the message says which file to put where.
    """
    from http.client import HTTPException  # slow to import, and rarely needed

    missing = [file for file in files if not os.path.exists(folder / file.name)]
    for file in missing:
        target = folder / file.name
        try:
            os.makedirs(folder, exist_ok=True)
            _fetch(file, target)
        except (OSError, HTTPException) as error:  # urllib's errors, timeouts, a full disk
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            problem = f"cannot be downloaded ({why})"
            remedy = f"try again to resume, or download {file.url} and put it there"
            raise DataError(str(target), problem, remedy) from error


def _fetch(file: Published, target: Path) -> None:
    """Downloads to a temporary name; renames when the contents are complete and checked."""
    part = target.with_name(f"{target.name}.part")
    with part.open("ab") as output:
        _lock(output)
        if target.exists():  # downloaded by another process, while this one waited
            part.unlink(missing_ok=True)
            return
        if output.tell() < file.size:
            _receive(file, target, output)
        output.flush()
        os.fsync(output.fileno())
        size = output.tell()
        if size < file.size:
            raise OSError(f"the connection ended after {size} of {file.size} bytes")
        found = _sha256(part)
        if size > file.size or found != file.sha256:
            part.unlink()
            problem = f"the file received has the SHA-256 {found}, {file.sha256} was expected"
            remedy = f"check the network and try again, or put a good copy of {file.url} there"
            raise DataError(str(target), problem, remedy)
        part.replace(target)
    sync(target.parent)


def _receive(file: Published, target: Path, output: IO[bytes]) -> None:
    """Appends what ``output`` lacks, or starts over if the server sends the whole file."""
    from urllib.error import HTTPError
    from urllib.request import Request

    start = output.tell()
    request = Request(file.url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = _open(request)
    except HTTPError as error:
        error.close()
        raise OSError(f"the server answers {error.code} {error.reason}") from error
    with response:
        if start and response.status != 206:
            output.truncate(0)
            start = 0
        progress = _Progress(target, file.size, start)
        # One byte more than expected is enough to see that the file is another one.
        while output.tell() <= file.size:
            block = response.read(min(_BLOCK, file.size + 1 - output.tell()))
            if not block:
                break
            output.write(block)
            progress.show(output.tell())
        progress.end(output.tell())


def _open(request: Any) -> Any:
    """The response; a redirection to another scheme is refused as well."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class SameSchemes(HTTPRedirectHandler):
        def redirect_request(
            self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Any:
            try:
                _check_scheme(newurl)
            except OSError:
                fp.close()
                raise
            return HTTPRedirectHandler.redirect_request(self, req, fp, code, msg, headers, newurl)

    _check_scheme(request.full_url)
    return build_opener(SameSchemes).open(request, timeout=_TIMEOUT)


def _check_scheme(url: str) -> None:
    scheme = url.partition("://")[0].lower()
    if scheme not in ALLOWED_SCHEMES:
        raise OSError(f"{url} is not an address with {' or '.join(ALLOWED_SCHEMES)}")


def _sha256(path: Path) -> str:
    with path.open("rb") as contents:
        return hashlib.file_digest(contents, "sha256").hexdigest()


def _lock(file: IO[bytes]) -> None:
    """Waits until no other process downloads the same file."""
    try:
        import fcntl
    except ImportError:  # Windows, where two processes must not download at once
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0, os.SEEK_END)


class _Progress:
    """Prints how much has been received: at the end, and on a terminal also meanwhile."""

    def __init__(self, target: Path, size: int, start: int) -> None:
        self._size, self._last = size, time.monotonic()
        self._prefix, self._is_terminal = f"Downloading {target}", sys.stderr.isatty()
        resumed = f", of which {_megabytes(start)} are there already" if start else ""
        print(f"{self._prefix} ({_megabytes(size)}{resumed})", file=sys.stderr)

    def show(self, received: int) -> None:
        if self._is_terminal and time.monotonic() - self._last >= _PROGRESS_EVERY:
            self._last = time.monotonic()
            text = f"\r  {_megabytes(received)} ({100 * received / self._size:.0f}%)"
            print(text, end="", file=sys.stderr, flush=True)

    def end(self, received: int) -> None:
        start = "\r" if self._is_terminal else ""
        print(f"{start}  {_megabytes(received)} received", file=sys.stderr)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
