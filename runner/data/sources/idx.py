"""MNIST and data sets in its format, from four IDX files with their standard names."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from etils import epy

from runner.config.markers import Folder
from runner.config.signature import checked
from runner.config.types import Needs
from runner.data.dataset import Dataset, Split, check_labels
from runner.data.files import DOWNLOAD_AGAIN, MAX_DEFLATE_RATIO, existing_folder, opened
from runner.data.sources.download import OR_DOWNLOAD, OR_DOWNLOADED, Published, fetch
from runner.data.sources.published import PUBLISHED
from runner.errors import DataError
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NUM_CLASSES = 10
_EVERY_NAME = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, each plain or .gz"
)


@register_dataset("idx")
@checked
def idx(
    *,
    root: Annotated[str, Folder(f"that holds {_EVERY_NAME}, {OR_DOWNLOADED}")],
    classes: tuple[str, ...] | None = None,
    publication: Literal["mnist", "fashion_mnist", "kmnist"] | None = None,
    download: Annotated[bool, Needs("publication")] = False,
) -> Dataset:
    """Ten classes of grey images: inputs uint8 [n, height, width, 1].

    Each file may be plain or compressed, with ``.gz`` appended to its name; a plain one is
    preferred. An IDX file is a magic number, the sizes of the axes (big-endian uint32) and then
    the bytes (LeCun, Cortes and Burges, "The MNIST database of handwritten digits").

    Args:
      root: the folder that holds the files.
      classes: the names of the ten classes, in the order of their labels.
      publication: the data set that ``download`` gets.
      download: gets those files that the folder does not have; creates the folder.

    Raises:
      ConfigError: ``root`` is empty, or there are not ten ``classes``.
      DataError: a file is missing, empty, damaged, not what its name says, or disagrees with
        another; its path is named.
    """
    if download and publication is not None:
        folder = Path(os.path.expanduser(root))
        fetch(missing_files(folder, PUBLISHED[publication]), folder)
    remedy = f"create it with the files {_EVERY_NAME}"
    folder = existing_folder(root, remedy if publication is None else f"{remedy}, {OR_DOWNLOAD}")
    return read_dataset(folder, FILES, num_classes=NUM_CLASSES, classes=classes)


def missing_files(folder: Path, files: Iterable[Published]) -> list[Published]:
    """The files that the folder has neither compressed nor plain."""
    return [file for file in files if not os.path.exists(folder / file.name.removesuffix(".gz"))]


def read_dataset(
    folder: Path,
    files: Mapping[str, tuple[str, str]],
    *,
    num_classes: int,
    classes: tuple[str, ...] | None,
    first_label: int = 0,
) -> Dataset:
    """The data set in four IDX files.

    Args:
      files: the names of images and labels of ``train`` and ``test``, without ``.gz``.
      first_label: the label of the first class.

    Raises:
      ConfigError: there are not ``num_classes`` names of classes.
      DataError: a file is missing, empty, damaged, or disagrees with another.
    """
    # All headers are compared before anything is unpacked, however large a file claims to be.
    train, test = (_open_split(folder, *files[part]) for part in ("train", "test"))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            str(test.images.path),
            f"holds images of {_size(test)} pixels, the training images have {_size(train)}",
            "use four files of one data set",
        )
    return Dataset(
        train=_read_split(train, num_classes, first_label),
        test=_read_split(test, num_classes, first_label),
        num_classes=num_classes,
        classes=classes,
    )


class _File(NamedTuple):
    """An IDX file whose header has been read."""

    path: Path
    shape: tuple[int, ...]


class _Files(NamedTuple):
    """The two files of a split."""

    images: _File
    labels: _File


def _open_split(folder: Path, images_name: str, labels_name: str) -> _Files:
    images_path, labels_path = _find(folder, images_name), _find(folder, labels_name)
    labels = _File(labels_path, read_shape(labels_path, ndim=1))
    images = _File(images_path, read_shape(images_path, ndim=3))
    if images.shape[0] != labels.shape[0]:
        raise DataError(
            str(labels_path),
            f"holds {labels.shape[0]} labels for the {images.shape[0]} images of "
            f"{images_path.name}",
            "use four files of one data set",
        )
    return _Files(images, labels)


def _read_split(files: _Files, num_classes: int, first_label: int) -> Split:
    labels = read_idx(files.labels.path, ndim=1).astype(np.int32)
    images_bhw = read_idx(files.images.path, ndim=3)
    check_labels(str(files.labels.path), labels, num_classes, lowest=first_label)
    return Split(images_bhw[..., None], labels - first_label)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.isfile(path):
            return path
    problem = "there is no such file, with or without .gz"
    near = sorted(path.name for path in folder.iterdir() if _letters(path.name) == _letters(name))
    raise DataError(str(folder / name), problem, f"rename {near[0]}" if near else "put it there")


def _letters(name: str) -> str:
    """A file's name without what copies of it differ in: case, punctuation, ``.gz``."""
    return re.sub(r"[^a-z0-9]", "", name.lower().removesuffix(".gz"))


def read_shape(path: Path, *, ndim: int) -> tuple[int, ...]:
    """The sizes of the axes in the header of one IDX file.

    Raises:
      DataError: the file cannot be read, or does not begin with such a header.
    """
    with opened(path) as file:
        return _read_shape(path, file, ndim)


def read_idx(path: Path, *, ndim: int) -> np.ndarray:
    """The unsigned bytes of one IDX file, as uint8 of ``ndim`` axes.

    Raises:
      DataError: the file cannot be read, is damaged, or does not hold such an array.
    """
    with opened(path) as file:
        shape = _read_shape(path, file, ndim)
        return _read_bytes(path, file, shape)


def _read_shape(path: Path, file: BufferedIOBase, ndim: int) -> tuple[int, ...]:
    header = file.read(4 * (1 + ndim))
    magic = bytes([0, 0, 0x08, ndim])
    if not header:
        raise DataError(str(path), "is empty", DOWNLOAD_AGAIN)
    if header[:4] != magic:
        raise DataError(
            str(path),
            f"starts with {header[:4].hex()}, not with {magic.hex()} (bytes with {ndim} axes)",
            "replace it with the file of that name",
        )
    if len(header) < 4 * (1 + ndim):
        raise DataError(str(path), "is truncated within its header", DOWNLOAD_AGAIN)
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if 0 in shape:
        raise DataError(str(path), f"holds nothing (its shape is {shape})", DOWNLOAD_AGAIN)
    # Before anything is allocated: a damaged header may claim any size.
    count = math.prod(shape)
    if count > path.stat().st_size * (MAX_DEFLATE_RATIO if path.suffix == ".gz" else 1):
        raise DataError(
            str(path), f"is too short for the {count} bytes in its header", DOWNLOAD_AGAIN
        )
    return shape


def _read_bytes(path: Path, file: BufferedIOBase, shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    array = np.empty(shape, np.uint8)
    read = file.readinto(array.data)
    # Reading past the last byte also makes gzip verify its checksum.
    if read != count or file.read(1):
        found = "less" if read != count else "more"
        raise DataError(
            str(path), f"holds {found} than the {count} bytes in its header", DOWNLOAD_AGAIN
        )
    return array


def _size(files: _Files) -> str:
    return "×".join(str(size) for size in files.images.shape[1:])
