"""The targets of a user's own data: checked, and converted to the types that training takes."""

from __future__ import annotations

from etils import epy

from runner.data.dataset import check_labels
from runner.errors import FLOAT32_MAX, INT32_MAX, DataError

with epy.lazy_imports():
    import numpy as np


def class_numbers(key: str, values: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    """Labels as int32.

    Args:
      key: names the values in errors.
      values: booleans or integers.
      num_classes: labels must be below it; None to check only that they are not negative.

    Raises:
      DataError: a value is not a label.
    """
    check_labels(key, values, INT32_MAX if num_classes is None else num_classes)
    return values.astype(np.int32)


def real_numbers(key: str, values: np.ndarray) -> np.ndarray:
    """Real targets, of any real type, as float32.

    Raises:
      DataError: a value is not a finite number that float32 holds.
    """
    in_range = np.abs(values.astype(np.float64)) <= FLOAT32_MAX
    if not in_range.all():
        index = int(np.argmin(in_range.reshape(len(values), -1).all(axis=1)))
        problem = f"the target of example {index} is not a finite number that float32 holds"
        raise DataError(key, problem, "give finite numbers")
    return values.astype(np.float32)


def check_class_count(key: str, num_classes: int) -> None:
    """Raises DataError unless there are at least two classes."""
    if num_classes < 2:
        problem = "holds examples of only one class"
        raise DataError(key, problem, "give examples of two or more classes")
