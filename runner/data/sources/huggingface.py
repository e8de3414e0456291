"""Data sets that the Hugging Face ``datasets`` library reads: local files, or from its hub."""

from __future__ import annotations

import os
from typing import Annotated, Any

from etils import epy

from runner.config.markers import DataPath
from runner.config.signature import checked
from runner.config.types import InnerShare, Seed
from runner.data.assembly import assembled
from runner.data.dataset import Dataset, Split
from runner.data.files import existing_file, missing_extra
from runner.data.targets import check_class_count, class_numbers, real_numbers
from runner.errors import DataError, nearest, reason, shown
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@register_dataset("huggingface")
@checked
def huggingface(
    *,
    path: Annotated[
        str, DataPath("of a local file or folder, or the name of a data set on the hub")
    ],
    subset: str | None = None,
    revision: str | None = None,
    input_feature: str = "image",
    target_feature: str = "label",
    train_split: str = "train",
    validation_split: str | None = None,
    test_split: str | None = None,
    test_share: InnerShare = 0.2,
    test_seed: Seed = 0,
) -> Dataset:
    """Inputs and targets from two features of a map-style data set, read into memory.

    Inputs are images (uint8 [n, height, width, channels]), numbers or arrays of one shape. A
    target of class labels, booleans or integers is a class, one of real numbers a value. No code
    of a data set on the hub is run.

    Args:
      path: a .csv, .json, .jsonl or .parquet file, a folder that ``Dataset.save_to_disk`` wrote,
        or the name of a data set on the hub, which is downloaded.
      subset: the name of one of several configurations on the hub.
      revision: a commit, branch or tag on the hub; name a commit to pin the contents.
      input_feature, target_feature: the names of the features.
      train_split, validation_split, test_split: the names of the splits; None if there is none.
      test_share: the share of the examples that is held out without a test split, of each class
        equally.
      test_seed: the seed of their random choice.

    Raises:
      ConfigError: ``path`` is empty, or the library is not installed.
      DataError: the data set cannot be read, has no such split or feature, or values do not fit.
    """
    splits = _load(path, subset, revision)
    names = {"train": train_split, "validation": validation_split, "test": test_split}
    read, classes = {}, None
    for part, name in names.items():
        if name is not None:
            split = _named(path, splits, name, "split")
            read[part] = _read(f"{path}: {name}", split, input_feature, target_feature)
            classes = classes or _class_names(split.features[target_feature])
    num_classes = None
    if read["train"].targets.dtype == np.int32:
        highest = max(int(split.targets.max()) for split in read.values())
        num_classes = max(highest + 1, len(classes or ()))
        check_class_count(path, num_classes)
    return assembled(
        path,
        read,
        num_classes=num_classes,
        classes=classes,
        test_share=test_share,
        test_seed=test_seed,
    )


def _load(path: str, subset: str | None, revision: str | None) -> Any:
    """The splits by name; a single data set is the split ``train``."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise missing_extra("datasets", "huggingface") from error
    file = os.path.expanduser(path)
    try:
        if os.path.isdir(file):
            found = datasets.load_from_disk(file)
        elif os.path.splitext(file)[1] in _FORMATS:
            file = str(existing_file(path, "give the path of a file, or the name of a data set"))
            found = datasets.load_dataset(_FORMATS[os.path.splitext(file)[1]], data_files=file)
        else:
            found = datasets.load_dataset(path, subset, revision=revision)
    except DataError:
        raise
    except Exception as error:  # the library's errors have no common class
        problem = f"cannot be loaded ({reason(error)})"
        remedy = "check the name and the network, or give the path of a local copy"
        raise DataError(path, problem, remedy) from error
    return found if isinstance(found, dict) else {"train": found}


def _named(key: str, mapping: Any, name: str, noun: str) -> Any:
    if name not in mapping:
        raise DataError(key, f"has no {noun} {shown(name)}", nearest(name, mapping))
    return mapping[name]


def _read(key: str, split: Any, input_feature: str, target_feature: str) -> Split:
    for name in (input_feature, target_feature):
        _named(key, split.features, name, "feature")
    columns = []
    for name in (input_feature, target_feature):
        try:
            values = np.stack([np.asarray(value) for value in split[name]])
        except Exception as error:  # a list of lists of other lengths, a damaged image, no rows
            problem = f"feature {name} does not give one array ({reason(error)})"
            remedy = "give each example a value of the same shape"
            raise DataError(key, problem, remedy) from error
        if values.dtype.kind not in "buif":
            problem = f"feature {name} has values of type {values.dtype}"
            raise DataError(key, problem, "choose a feature of images, numbers or class labels")
        columns.append(values)
    inputs, targets = columns
    if inputs.ndim == 1 or (inputs.ndim == 3 and inputs.dtype == np.uint8):
        inputs = inputs[..., None]  # a column of numbers, or the channel of grey images
    convert = real_numbers if targets.dtype.kind == "f" else class_numbers
    return Split(inputs, convert(f"{key}: feature {target_feature}", targets))


def _class_names(feature: Any) -> tuple[str, ...] | None:
    names = getattr(feature, "names", None)
    return None if names is None else tuple(names)
