"""EMNIST: handwritten letters and digits of NIST's Special Database 19 (Cohen et al. 2017)."""

from __future__ import annotations

import os
import string
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Literal

from etils import epy

from runner.config.markers import Folder
from runner.config.signature import checked
from runner.data.dataset import Dataset, Split
from runner.data.files import DOWNLOAD_AGAIN, check_file, existing_folder, unreadable
from runner.data.sources.download import OR_DOWNLOAD, OR_DOWNLOADED, fetch
from runner.data.sources.idx import read_dataset
from runner.data.sources.published import PUBLISHED
from runner.durable import write_file
from runner.errors import DataError, reason
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# Lower-case letters that ``balanced`` and ``bymerge`` do not merge with their capitals.
_DISTINCT = "abdefghnqrt"
CLASSES = {
    "balanced": string.digits + string.ascii_uppercase + _DISTINCT,
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": string.digits + string.ascii_uppercase + _DISTINCT,
    "digits": string.digits,
    "letters": string.ascii_lowercase,
    "mnist": string.digits,
}
# No file of the archive is larger: deflate hardly compresses what gzip has compressed.
_MAX_MEMBER = 2**29


@register_dataset("emnist")
@checked
def emnist(
    *,
    root: Annotated[
        str,
        Folder(
            "that holds emnist-SPLIT-train-images-idx3-ubyte and its three companions, "
            f"{OR_DOWNLOADED}"
        ),
    ],
    split: Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"] = "balanced",
    download: bool = False,
) -> Dataset:
    """Grey images of characters: inputs uint8 [n, 28, 28, 1], upright.

    Args:
      root: the folder that holds the four files of the split, plain or compressed (``.gz``), or
        NIST's archive ``gzip.zip``, from which they are extracted.
      split: NIST's division into classes: ``byclass`` has all 62 characters; ``bymerge`` has 47, as
        capitals that look like their small letters are merged with them; ``balanced`` has the same
        47 with equally many images of each; ``letters`` has 26, without case; ``digits`` and
        ``mnist`` have ten.
      download: gets the archive unless the folder has the files; creates the folder.

    Raises:
      ConfigError: ``root`` is empty.
      DataError: a file is missing, damaged or not what its name says; it is named.
    """
    files = {
        part: (
            f"emnist-{split}-{part}-images-idx3-ubyte",
            f"emnist-{split}-{part}-labels-idx1-ubyte",
        )
        for part in ("train", "test")
    }
    folder = Path(os.path.expanduser(root))
    names = [name for part in files.values() for name in part if not _exists(folder, name)]
    if names and download:
        fetch(PUBLISHED["emnist"], folder)
    folder = existing_folder(root, f"create it with gzip.zip of EMNIST, {OR_DOWNLOAD}")
    archive = folder / PUBLISHED["emnist"][0].name
    if names and archive.exists():
        _extract(archive, names)
    classes = tuple(CLASSES[split])
    found = read_dataset(
        folder,
        files,
        num_classes=len(classes),
        classes=classes,
        first_label=1 if split == "letters" else 0,
    )
    return Dataset(
        train=_upright(found.train),
        test=_upright(found.test),
        num_classes=found.num_classes,
        classes=classes,
    )


def _exists(folder: Path, name: str) -> bool:
    return os.path.exists(folder / name) or os.path.exists(folder / f"{name}.gz")


def _extract(archive: Path, names: list[str]) -> None:
    """Writes these files beside the archive, each only once it is complete."""
    for name in names:
        packed = f"{name}.gz"
        content, target = _member(archive, f"gzip/{packed}"), archive.with_name(packed)
        try:
            write_file(target, content)
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error})"
            remedy = f"extract it from {archive.name} yourself, or set another dataset.root"
            raise DataError(str(target), problem, remedy) from error


def _member(archive: Path, name: str) -> bytes:
    """The contents of a file of the archive."""
    check_file(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            member = opened.getinfo(name)
            if member.file_size > _MAX_MEMBER:
                problem = f"its {member.filename} has {member.file_size} bytes"
                raise DataError(str(archive), problem, DOWNLOAD_AGAIN)
            return opened.read(member)
    except OSError as error:
        raise unreadable(archive, error) from error
    except (EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"is not the archive of EMNIST, or is damaged ({reason(error)})"
        raise DataError(str(archive), problem, DOWNLOAD_AGAIN) from error


def _upright(split: Split) -> Split:
    """The images as people read them; NIST stores them column by column."""
    return Split(np.ascontiguousarray(split.inputs.transpose(0, 2, 1, 3)), split.targets)
