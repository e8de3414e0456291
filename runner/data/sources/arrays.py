"""A user's own NumPy arrays: one ``.npz`` file, or a folder of memory-mapped ``.npy`` files."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

from etils import epy

from runner.config.markers import DataPath
from runner.config.signature import checked
from runner.config.types import InnerShare, Seed
from runner.data.assembly import assembled
from runner.data.dataset import Dataset, Split
from runner.data.files import MAX_DEFLATE_RATIO, opened, unreadable
from runner.data.targets import check_class_count, class_numbers, real_numbers
from runner.errors import ConfigError, DataError, nearest, reason
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# The array with the names of the classes.
_CLASSES = "classes"
_TRAIN, _VALIDATION, _TEST = (
    ("x_train", "y_train"),
    ("x_validation", "y_validation"),
    ("x_test", "y_test"),
)
_READERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
_SAVE_AGAIN = "save it again with numpy.savez or numpy.save"


@register_dataset("arrays")
@checked
def arrays(
    *,
    path: Annotated[str, DataPath("of a .npz file, or of a folder with .npy files")],
    train_arrays: tuple[str, str] = _TRAIN,
    validation_arrays: tuple[str, str] = _VALIDATION,
    test_arrays: tuple[str, str] = _TEST,
    num_classes: int | None = None,
    test_share: InnerShare = 0.2,
    test_seed: Seed = 0,
) -> Dataset:
    """Arrays of inputs and targets, by name; a ``.npy`` file is named like its array.

    Inputs have any real type and shape [n, ...]; [n] becomes [n, 1]. Targets of integers are
    classes, real numbers are values to predict; their shape is [n] or [n, ...], and [n, 1] becomes
    [n]. Without validation or test arrays, a part of the training examples is held out. An array
    of strings called ``classes`` names the classes. Arrays of Python objects are never loaded.

    Args:
      path: the inputs in a ``.npy`` file are mapped, not read; those of a ``.npz`` file are read.
      train_arrays, validation_arrays, test_arrays: the names of the inputs and of the targets.
      num_classes: the number of classes; None for one more than the highest label.
      test_share: the share of the examples that is held out if there are no test arrays, of each
        class equally.
      test_seed: the seed of their random choice.

    Raises:
      ConfigError: ``path`` is empty.
      DataError: a file or an array is missing, damaged or not of numbers, or arrays disagree.
    """
    store = _open_store(Path(os.path.expanduser(path)))
    found = {
        part: names
        for part, names in {
            "train": train_arrays,
            "validation": validation_arrays,
            "test": test_arrays,
        }.items()
        if part == "train" or set(names) & store.keys()
    }
    headers = {
        part: (store.header(names[0]), store.header(names[1])) for part, names in found.items()
    }
    # Everything is compared before anything is read, however large an array claims to be.
    for inputs, targets in headers.values():
        _check_pair(inputs, targets, headers["train"])
    is_classes = headers["train"][1].dtype.kind in "bui"
    convert = class_numbers if is_classes else real_numbers
    splits = {part: _read_split(store, names, convert) for part, names in found.items()}
    if is_classes:
        num_classes = _count_classes(store, splits, headers, num_classes)
    elif num_classes is not None:
        problem = f"is set, but {headers['train'][1].key} holds real numbers"
        raise ConfigError("num_classes", problem, "leave it out, or store the labels as integers")
    return assembled(
        store.key,
        splits,
        num_classes=num_classes,
        classes=None if num_classes is None else store.class_names(num_classes),
        test_share=test_share,
        test_seed=test_seed,
    )


class _Header(NamedTuple):
    """The header of an array, which is read first; ``key`` names the array in errors."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Store:
    """Arrays by name, in a ``.npz`` file or in the ``.npy`` files of a folder."""

    def __init__(self, path: Path, places: dict[str, Any]) -> None:
        """``places``: the name of each array → the file, or the member of the archive."""
        self.path, self.key, self._places = path, str(path), places
        self._is_archive = not path.is_dir()

    def keys(self) -> set[str]:
        return set(self._places)

    def header(self, name: str) -> _Header:
        """Raises DataError if there is no such array, or if it is damaged or of Python objects."""
        if name not in self._places:
            problem = f"there is no array {name!r}"
            remedy = (
                f"name yours in dataset.train_arrays and test_arrays; {nearest(name, self._places)}"
            )
            raise DataError(self.key, problem, remedy)
        key = self._key(name)
        with _faults(key), self._opened(name) as file:
            header = _read_header(key, file)
            size = self._most_bytes(name)
        expected = math.prod(header.shape) * header.dtype.itemsize
        if size < expected:
            problem = f"is truncated: it holds at most {size} bytes, but its header says {expected}"
            raise DataError(key, problem, "copy it again")
        return header

    def read(self, name: str) -> np.ndarray:
        """An array, in memory or mapped, in the byte order of this machine."""
        with _faults(self._key(name)):
            if self._is_archive:
                with self._opened(name) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                    file.read()  # to the end, where the checksum is compared
            else:
                array = np.load(self._places[name], mmap_mode="r", allow_pickle=False)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    def class_names(self, num_classes: int) -> tuple[str, ...] | None:
        """The names of the classes, if the store has them.

        Raises:
          DataError: there is not one string for each class.
        """
        if _CLASSES not in self._places:
            return None
        header = self.header(_CLASSES)
        if header.dtype.kind != "U" or header.shape != (num_classes,):
            problem = f"has {header.dtype} of shape {header.shape} for {num_classes} classes"
            raise DataError(header.key, problem, "give one string for each class")
        return tuple(map(str, self.read(_CLASSES)))

    def _key(self, name: str) -> str:
        return f"{self.path}: {name}" if self._is_archive else str(self._places[name])

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes] | BufferedIOBase]:
        if self._is_archive:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._places[name]) as file:
                yield file
        else:
            with opened(self._places[name], _SAVE_AGAIN) as file:
                yield file

    def _most_bytes(self, name: str) -> int:
        place = self._places[name]
        if not self._is_archive:
            return os.path.getsize(place)
        return min(place.file_size, place.compress_size * MAX_DEFLATE_RATIO)


def _open_store(path: Path) -> _Store:
    if os.path.isdir(path):
        return _Store(path, {file.stem: file for file in sorted(path.glob("*.npy"))})
    if not os.path.isfile(path):
        remedy = "give the path of a .npz file, or of a folder with .npy files"
        raise DataError(str(path), "there is no such file or folder", remedy)
    with _faults(str(path)), zipfile.ZipFile(path) as archive:
        return _Store(
            path,
            {
                member.filename.removesuffix(".npy"): member
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            },
        )


@contextmanager
def _faults(key: str) -> Iterator[None]:
    """Converts errors while a file is read to a DataError."""
    try:
        yield
    except OSError as error:
        raise unreadable(key, error) from error
    # RuntimeError: the archive is encrypted; NotImplementedError: an unknown compression.
    except (
        EOFError,
        RuntimeError,
        SyntaxError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(key, f"is damaged ({reason(error)})", _SAVE_AGAIN) from error


def _read_header(key: str, file: IO[bytes] | BufferedIOBase) -> _Header:
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise DataError(key, f"has version {version} of NumPy's format", _SAVE_AGAIN)
    try:
        shape, _, dtype = getattr(np.lib.format, _READERS[version])(file)
    except (MemoryError, TypeError, tokenize.TokenError) as error:  # raised by Python's parser
        raise DataError(key, "has a header that cannot be parsed", _SAVE_AGAIN) from error
    if dtype.hasobject:
        remedy = "save arrays of numbers; objects are never loaded, as loading them may run code"
        raise DataError(key, "is an array of Python objects", remedy)
    return _Header(key, shape, dtype)


def _check_pair(inputs: _Header, targets: _Header, train: tuple[_Header, _Header]) -> None:
    """Raises DataError unless inputs and targets fit each other and those of the training split."""
    for header, like in zip((inputs, targets), train, strict=True):
        if header.dtype.kind not in "buif" or header.dtype.itemsize > 8:  # JAX has 64 bits at most
            problem = f"has values of type {header.dtype}"
            raise DataError(header.key, problem, "give numbers of at most 64 bits")
        if not header.shape or 0 in header.shape:
            problem = f"has shape {header.shape}"
            raise DataError(header.key, problem, "give one or more examples, as [examples, ...]")
        if header.shape[1:] != like.shape[1:]:
            problem = f"has shape {header.shape}, {like.key} has {like.shape}"
            raise DataError(header.key, problem, "give all examples the same shape")
    if inputs.shape[0] != targets.shape[0]:
        problem = f"has {targets.shape[0]} targets for the {inputs.shape[0]} inputs of {inputs.key}"
        raise DataError(targets.key, problem, "give one target for each input")
    if (targets.dtype.kind == "f") != (train[1].dtype.kind == "f"):
        problem = f"has values of type {targets.dtype}, {train[1].key} has {train[1].dtype}"
        raise DataError(targets.key, problem, "give both integers, or both real numbers")


def _read_split(
    store: _Store, names: tuple[str, str], convert: Callable[[str, np.ndarray], np.ndarray]
) -> Split:
    inputs, targets = store.read(names[0]), store.read(names[1])
    if inputs.ndim == 1:
        inputs = inputs[:, None]
    if targets.shape[1:] == (1,):
        targets = targets[:, 0]
    return Split(inputs, convert(store.header(names[1]).key, targets))


def _count_classes(
    store: _Store,
    splits: dict[str, Split],
    headers: dict[str, tuple[_Header, _Header]],
    given: int | None,
) -> int:
    if given is not None:
        for part, split in splits.items():
            class_numbers(headers[part][1].key, split.targets, given)
        return given
    for part, split in splits.items():
        highest = int(split.targets.max())
        # A column of numbers or identifiers in place of labels would give a huge model.
        if highest >= splits["train"].targets.size:
            problem = f"has the label {highest}, but there are fewer training examples"
            remedy = (
                "number the classes from 0, store values to predict as real numbers, or set "
                "dataset.num_classes"
            )
            raise DataError(headers[part][1].key, problem, remedy)
    num_classes = max(int(split.targets.max()) for split in splits.values()) + 1
    check_class_count(store.key, num_classes)
    return num_classes
