"""What a data source returns: two validated splits of images and labels, in host memory."""

from __future__ import annotations

from dataclasses import dataclass

from etils import epy

from runner.config.markers import Number, Whole
from runner.config.signature import require
from runner.errors import FLOAT32_MAX, DataError

with epy.lazy_imports():
    import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in the order of the source.

    Attributes:
      inputs: [n, height, width, channels], any real dtype, as stored (not yet normalised).
      targets: int32 [n].
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split; the model sees ``(inputs - mean) / std``.

    Raises:
      DataError: a split is empty, its shapes or the two splits' shapes disagree, inputs are not
        finite numbers, or a label is outside ``[0, num_classes)``.
      ConfigError: ``mean`` is not finite, ``std`` not finite and positive, or there are fewer than
        two classes.
    """

    train: Split
    test: Split
    num_classes: int
    mean: float
    std: float

    def __post_init__(self) -> None:
        require("mean", self.mean, Number())
        require("std", self.std, Number(gt=0))
        require("num_classes", self.num_classes, Whole(2))
        for name, split in (("train", self.train), ("test", self.test)):
            _check_split(name, split, self.num_classes)
        train, test = self.train.inputs.shape[1:], self.test.inputs.shape[1:]
        if train != test:
            raise DataError(
                "test inputs",
                f"have shape {test}, the train inputs {train}",
                "give both the same shape",
            )


def _check_split(name: str, split: Split, num_classes: int) -> None:
    inputs, targets = split.inputs, split.targets
    if inputs.ndim != 4 or 0 in inputs.shape[1:]:
        raise DataError(
            f"{name} inputs",
            f"have shape {inputs.shape}",
            "give [examples, height, width, channels]",
        )
    if targets.shape != inputs.shape[:1]:
        raise DataError(
            f"{name} targets",
            f"have shape {targets.shape} for {len(inputs)} inputs",
            "give one label for each input",
        )
    if len(inputs) == 0:
        raise DataError(f"{name} split", "holds no examples", "give at least one")
    # With a NaN among the inputs both are NaN, which fails every comparison.
    in_range = inputs.dtype.kind in "buif" and (
        float(inputs.min()) >= -FLOAT32_MAX and float(inputs.max()) <= FLOAT32_MAX
    )
    if not in_range:
        raise DataError(
            f"{name} inputs",
            f"({inputs.dtype}) are not all finite numbers that float32 holds",
            "give finite numbers",
        )
    if targets.dtype != np.int32:
        raise DataError(f"{name} targets", f"are {targets.dtype}", "give int32 labels")
    check_labels(f"{name} targets", targets, num_classes)


def check_labels(key: str, labels: np.ndarray, num_classes: int) -> None:
    """Checks that labels are in ``[0, num_classes)``.

    Raises:
      DataError: a label is not; the first one is named. ``key`` is the error's key.
    """
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        index = int(np.argmax(outside))
        raise DataError(
            key,
            f"label {labels[index]} of example {index} is outside 0 to {num_classes - 1}",
            "give labels of known classes",
        )
