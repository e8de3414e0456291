"""CIFAR-10 and CIFAR-100, in the binary form (Krizhevsky 2009)."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from etils import epy

from runner.config.markers import Folder
from runner.config.signature import checked
from runner.data.dataset import Dataset, Split, check_labels
from runner.data.files import DOWNLOAD_AGAIN, existing_file, existing_folder, opened
from runner.data.sources.cifar_classes import CIFAR10, COARSE, FINE
from runner.data.sources.download import OR_DOWNLOAD, OR_DOWNLOADED, fetch
from runner.data.sources.published import PUBLISHED
from runner.errors import DataError, reason
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

_BLOCK = 2**20
_CHANNELS, _SIDE = 3, 32
_PIXELS = _CHANNELS * _SIDE * _SIDE


class _Form(NamedTuple):
    """The files of a data set.

    Attributes:
      publication: what ``PUBLISHED`` calls it.
      archive: the published file, which has the others in a folder.
      folder: its name in the archive.
      train, test: the names of the training files and of the test files.
      records: the number of images in each training file and in each test file.
      labels: the number of bytes of labels before the pixels of an image.
    """

    publication: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    records: tuple[int, int]
    labels: int


_CIFAR10 = _Form(
    publication="cifar10",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    records=(10_000, 10_000),
    labels=1,
)
_CIFAR100 = _Form(
    publication="cifar100",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    records=(50_000, 10_000),
    labels=2,
)


@register_dataset("cifar10")
@checked
def cifar10(
    *,
    root: Annotated[
        str, Folder(f"that holds {_CIFAR10.archive} or its .bin files, {OR_DOWNLOADED}")
    ],
    download: bool = False,
) -> Dataset:
    """60,000 photographs of ten classes: inputs uint8 [n, 32, 32, 3], 10,000 for the test.

    Args:
      root: the folder that holds ``data_batch_1.bin`` to ``data_batch_5.bin`` and
        ``test_batch.bin``, itself or in ``cifar-10-batches-bin``, or the archive with them.
      download: gets the archive unless the folder has it or the files; creates the folder.

    Raises:
      ConfigError: ``root`` is empty.
      DataError: a file is missing, damaged or not what its name says; it is named.
    """
    return _load(_CIFAR10, root, download=download, label=0, classes=CIFAR10)


@register_dataset("cifar100")
@checked
def cifar100(
    *,
    root: Annotated[
        str, Folder(f"that holds {_CIFAR100.archive} or its .bin files, {OR_DOWNLOADED}")
    ],
    labels: Literal["fine", "coarse"] = "fine",
    download: bool = False,
) -> Dataset:
    """60,000 photographs of 100 classes: inputs uint8 [n, 32, 32, 3], 10,000 for the test.

    Args:
      root: the folder that holds ``train.bin`` and ``test.bin``, itself or in
        ``cifar-100-binary``, or the archive with them.
      labels: the 100 classes, or the 20 groups of five that they form.
      download: gets the archive unless the folder has it or the files; creates the folder.

    Raises:
      ConfigError: ``root`` is empty.
      DataError: a file is missing, damaged or not what its name says; it is named.
    """
    if labels == "coarse":
        return _load(_CIFAR100, root, download=download, label=0, classes=COARSE)
    return _load(_CIFAR100, root, download=download, label=1, classes=FINE)


def _load(
    form: _Form, root: str, *, download: bool, label: int, classes: tuple[str, ...]
) -> Dataset:
    """``label``: the number of the byte with the label, among those before the pixels."""
    folder = Path(os.path.expanduser(root))
    if download and _holder(folder, form) is None:
        fetch(PUBLISHED[form.publication], folder)
    folder = existing_folder(root, f"create it with {form.archive}, {OR_DOWNLOAD}")
    holder = _holder(folder, form)
    if holder is None:
        problem = f"there is no such file, and no {form.train[0]} either"
        remedy = f"put it there, {OR_DOWNLOAD}"
        raise DataError(str(folder / form.archive), problem, remedy)
    files = _from_folder(holder, form) if holder.is_dir() else _from_archive(holder, form)
    train, test = (
        _records(files, names, count, form.labels, label=label, num_classes=len(classes))
        for names, count in zip((form.train, (form.test,)), form.records, strict=True)
    )
    return Dataset(train=train, test=test, num_classes=len(classes), classes=classes)


def _holder(folder: Path, form: _Form) -> Path | None:
    """The folder or the archive with the files."""
    for place in (folder, folder / form.folder):
        if os.path.exists(place / form.train[0]):
            return place
    archive = folder / form.archive
    return archive if os.path.exists(archive) else None


class _File(NamedTuple):
    """The contents of a file, which ``key`` names in errors."""

    key: str
    data: bytes


def _sizes(form: _Form) -> dict[str, int]:
    """The name of each file → its size in bytes."""
    record = form.labels + _PIXELS
    train = dict.fromkeys(form.train, form.records[0] * record)
    return {**train, form.test: form.records[1] * record}


def _from_folder(folder: Path, form: _Form) -> dict[str, _File]:
    found = {}
    for name, size in _sizes(form).items():
        path = existing_file(str(folder / name), "put it there")
        with opened(path) as file:
            found[name] = _complete(str(path), file, size)
    return found


def _from_archive(path: Path, form: _Form) -> dict[str, _File]:
    """Reads these regular members of the archive, and no others; nothing is extracted."""
    wanted = {f"{form.folder}/{name}": (name, size) for name, size in _sizes(form).items()}
    found: dict[str, _File] = {}
    with opened(path) as unpacked:
        try:
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for member in archive:
                    name, size = wanted.get(member.name, ("", 0))
                    file = archive.extractfile(member) if name and member.isreg() else None
                    if file is not None:
                        found[name] = _complete(f"{path}: {member.name}", file, size)
        except tarfile.TarError as error:
            problem = f"is not a tar archive, or is damaged ({reason(error)})"
            raise DataError(str(path), problem, DOWNLOAD_AGAIN) from error
        while unpacked.read(_BLOCK):  # to the end, where the checksum is compared
            pass
    for member, (name, _) in wanted.items():
        if name not in found:
            raise DataError(str(path), f"holds no file {member}", DOWNLOAD_AGAIN)
    return found


def _complete(key: str, file: Any, size: int) -> _File:
    """Raises DataError unless a file has that many bytes."""
    data = file.read(size + 1)
    if len(data) != size:
        found = f"only {len(data)} bytes" if len(data) < size else "too many bytes"
        raise DataError(key, f"holds {found}, {size} were expected", DOWNLOAD_AGAIN)
    return _File(key, data)


def _records(
    files: dict[str, _File],
    names: tuple[str, ...],
    count: int,
    labels: int,
    *,
    label: int,
    num_classes: int,
) -> Split:
    """The images in these files, ``count`` in each; a record has ``labels`` bytes before them."""
    images_bhwc = np.empty((count * len(names), _SIDE, _SIDE, _CHANNELS), np.uint8)
    targets = np.empty(len(images_bhwc), np.int32)
    for i, name in enumerate(names):
        part = slice(i * count, (i + 1) * count)
        records = np.frombuffer(files[name].data, np.uint8).reshape(count, labels + _PIXELS)
        check_labels(files[name].key, records[:, label], num_classes)
        targets[part] = records[:, label]
        images_bchw = records[:, labels:].reshape(count, _CHANNELS, _SIDE, _SIDE)
        images_bhwc[part] = images_bchw.transpose(0, 2, 3, 1)
    return Split(images_bhwc, targets)
