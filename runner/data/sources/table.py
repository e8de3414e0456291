"""A table: rows of columns with names, in CSV or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from etils import epy

from runner.config.markers import DataPath
from runner.config.signature import checked
from runner.config.types import InnerShare, Seed
from runner.data.assembly import check_trained, with_test_share
from runner.data.dataset import Dataset, Split
from runner.data.files import existing_file
from runner.data.sources.columns import Column, Table, column_of, read_table
from runner.data.targets import check_class_count
from runner.errors import ConfigError, DataError, shown
from runner.registry import register_dataset

with epy.lazy_imports():
    import numpy as np

# A column with more distinct texts than this probably has identifiers, or faulty numbers.
MAX_CATEGORIES = 1000


@register_dataset("table")
@checked
def table(
    *,
    path: Annotated[str, DataPath("of a .csv, .csv.gz or .parquet file")],
    test_path: str | None = None,
    target: str | None = None,
    target_type: Literal["auto", "class", "number"] = "auto",
    columns: tuple[str, ...] | None = None,
    categorical: tuple[str, ...] = (),
    delimiter: str = ",",
    test_share: InnerShare = 0.2,
    test_seed: Seed = 0,
) -> Dataset:
    """Rows of numbers float32 [n, features], and a class or a number for each.

    A column of numbers is one feature. A column of texts is one feature for each text of the
    training rows: 1 where a row has it, else 0. For a text that occurs only in test rows, all of
    these are 0.

    Args:
      path: CSV in UTF-8 with a header, or Parquet.
      test_path: a file with the same columns; None to hold out a part of the rows.
      target: the name of the column to predict; None for the last one.
      target_type: classes, in sorted order, or numbers; ``auto`` takes texts and integers as
        classes, numbers with decimals as numbers.
      columns: the columns for the inputs, in this order; None for all others.
      categorical: columns of numbers that are codes, treated as texts.
      delimiter: between the values of CSV.
      test_share: the share of the rows that is held out, of each class equally.
      test_seed: the seed of their random choice.

    Raises:
      ConfigError: ``path`` is empty, ``delimiter`` is not one character, or a setting contradicts
        another one.
      DataError: a file, a column or a value is missing, or is not what it should be.
    """
    if len(delimiter) != 1 or delimiter in '\r\n"':
        problem = f"{shown(delimiter)} is not a delimiter"
        raise ConfigError("delimiter", problem, "write one character, such as ','")
    paths = [existing_file(path, "give the path of a CSV or Parquet file")]
    if test_path is not None:
        paths.append(existing_file(test_path, "give the path of a CSV or Parquet file"))
    tables = [read_table(file, delimiter=delimiter) for file in paths]
    target = list(tables[0])[-1] if target is None else target
    names = [name for name in tables[0] if name != target] if columns is None else columns
    _check_names(names, target, categorical)
    found = [column_of(part, file, target) for part, file in zip(tables, paths, strict=True)]
    targets, classes = _targets(found, target_type)
    splits = [Split(np.zeros((len(each), 1), np.uint8), each) for each in targets]
    if test_path is None:
        splits = list(
            with_test_share(
                str(paths[0]),
                splits[0],
                share=test_share,
                seed=test_seed,
                by_class=classes is not None,
            )
        )
    if classes is not None:
        remedy = "give training examples of it, or write dataset.target_type=number for a number"
        check_trained(str(paths[0]), splits, len(classes), classes, remedy=remedy)
    inputs = _inputs(tables, paths, names, categorical, splits[0].rows)
    train, test = (
        Split(inputs[min(i, len(inputs) - 1)], split.targets, split.rows)
        for i, split in enumerate(splits)
    )
    num_classes = None if classes is None else len(classes)
    return Dataset(train=train, test=test, num_classes=num_classes, classes=classes)


def _check_names(names: Any, target: str, categorical: tuple[str, ...]) -> None:
    if not names:
        remedy = "name one or more columns besides the target"
        raise ConfigError("columns", "there are no columns for the inputs", remedy)
    if target in names:
        problem = f"{shown(target)} is the target"
        raise ConfigError("columns", problem, "leave it out, or choose another dataset.target")
    for name in categorical:
        if name not in names:
            problem = f"{shown(name)} is not a column of the inputs"
            raise ConfigError("categorical", problem, "name columns of the inputs")


def _targets(
    columns: list[Column], target_type: str
) -> tuple[list[np.ndarray], tuple[str, ...] | None]:
    """The targets of each file, and the names of the classes, None for numbers."""
    if target_type == "number" or (target_type == "auto" and columns[0].kind == "real"):
        return [column.numbers().astype(np.float32) for column in columns], None
    if all(column.kind == "text" for column in columns):
        values = [np.array(column.texts()) for column in columns]
    elif any(column.kind == "text" for column in columns):
        problem = f"is {columns[1].kind}, in the training file it is {columns[0].kind}"
        raise DataError(columns[1].key, problem, "give both files the same kind of target")
    else:
        values = [_labels(column) for column in columns]
    found, numbers = np.unique(np.concatenate(values), return_inverse=True)
    check_class_count(columns[0].key, len(found))
    if len(found) > MAX_CATEGORIES:
        problem = f"has {len(found)} different values, more than {MAX_CATEGORIES} classes"
        raise DataError(columns[0].key, problem, "choose another target, or target_type=number")
    borders = np.cumsum([len(each) for each in values])[:-1]
    return np.split(numbers.astype(np.int32), borders), tuple(map(str, found.tolist()))


def _labels(column: Column) -> np.ndarray:
    """Classes that are written as whole numbers."""
    numbers = column.numbers()
    fractions = numbers != np.round(numbers)
    if fractions.any():
        index = int(np.argmax(fractions))
        problem = f"row {column.rows[index]} has {shown(column.values[index])}, which is not whole"
        raise DataError(column.key, problem, "write a whole number, or set target_type=number")
    too_large = np.abs(numbers) >= 2**53  # above, float64 does not tell whole numbers apart
    if too_large.any():
        index = int(np.argmax(too_large))
        problem = f"row {column.rows[index]} has {shown(column.values[index])}, too large a label"
        raise DataError(column.key, problem, "write labels as texts, or set target_type=number")
    return numbers.astype(np.int64)


def _inputs(
    tables: list[Table],
    paths: list[Path],
    names: Any,
    categorical: tuple[str, ...],
    train_rows: np.ndarray | None,
) -> list[np.ndarray]:
    """The inputs [n, features] of each file; ``train_rows`` of the first one are for training."""
    features: list[list[np.ndarray]] = [[] for _ in tables]
    for name in names:
        columns = [column_of(part, file, name) for part, file in zip(tables, paths, strict=True)]
        if columns[0].kind == "text" or name in categorical:
            encoded = _one_hot(columns, train_rows)
        else:
            encoded = [column.numbers()[:, None] for column in columns]
        for part, values in zip(features, encoded, strict=True):
            part.append(values.astype(np.float32))
    return [np.concatenate(part, axis=1) for part in features]


def _one_hot(columns: list[Column], train_rows: np.ndarray | None) -> list[np.ndarray]:
    texts = [np.array(column.texts()) for column in columns]
    categories = np.unique(texts[0] if train_rows is None else texts[0][train_rows])
    if len(categories) > MAX_CATEGORIES:
        problem = f"has {len(categories)} different texts, more than {MAX_CATEGORIES}"
        remedy = "leave it out of dataset.columns, or write its numbers with a decimal point"
        raise DataError(columns[0].key, problem, remedy)
    return [values[:, None] == categories for values in texts]
