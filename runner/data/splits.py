"""Completes a data set: takes a validation split from the training split, measures its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from etils import epy

from runner.data.dataset import Dataset, Split
from runner.data.order import epoch_order
from runner.errors import ConfigError

with epy.lazy_imports():
    import numpy as np


def with_validation(dataset: Dataset, *, share: float, seed: int) -> Dataset:
    """The data set with a part of its training split for validation, unless it has one.

    The data set holds the part out itself (``Dataset.hold_out``), or it is drawn at random, by
    ``seed``, and for class labels in equal shares of each class.

    Args:
      share: of the training examples; with 0, the data set's own validation split is dropped too.

    Raises:
      ConfigError: the share leaves one of the two without examples.
    """
    if share == 0:
        return dataset.divided(train=dataset.train, validation=None)
    if dataset.validation is not None:
        return dataset
    if dataset.hold_out is not None:
        train, validation = dataset.hold_out(share)
        return dataset.divided(train=train, validation=validation)
    train = dataset.train
    by_class = dataset.num_classes is not None and train.targets.ndim == 1
    labels = train.all_targets if by_class else None
    held_out = drawn(len(train), labels, share=share, seed=seed)
    count = int(held_out.sum())
    if not 0 < count < len(train):
        problem = f"{share:g} of {len(train)} training examples is {count}"
        raise ConfigError("dataset.validation", problem, "write another share, or 0 for none")
    rows = np.arange(len(train), dtype=np.int32) if train.rows is None else train.rows
    return dataset.divided(
        train=replace(train, rows=rows[~held_out]),
        validation=replace(train, rows=rows[held_out]),
    )


def drawn(n: int, labels: np.ndarray | None, *, share: float, seed: int) -> np.ndarray:
    """Draws a share of ``n`` examples at random; of each label in equal shares, if there are any.

    Returns:
      bool [n], True for the examples drawn.
    """
    order = epoch_order(seed, 0, n)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    # Spread evenly over the examples sorted by class, so that each class gives its share.
    count = round(share * n)
    found = np.zeros(n, bool)
    found[order[np.arange(count) * n // max(count, 1)]] = True
    return found


def with_normalization(
    dataset: Dataset,
    *,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
) -> Dataset:
    """The data set with ``mean`` and ``std``, by default those of the training split.

    A channel that is constant has the standard deviation 1.

    Raises:
      ConfigError: they are given for inputs that are not normalised, or not one per channel.
    """
    if not dataset.normalized:
        if mean is not None or std is not None:
            key = "mean" if mean is not None else "std"
            raise ConfigError(key, "is set, but these inputs are used as stored", "leave it out")
        return dataset
    mean = dataset.mean if mean is None else mean
    std = dataset.std if std is None else std
    if mean is None or std is None:
        blocks = (block.inputs for block in dataset.train.blocks())
        measured_mean, measured_std = moments(blocks)
        mean = measured_mean if mean is None else mean
        std = measured_std if std is None else std
    return dataset.normalized_by(mean, std)


def moments(blocks: Iterable[np.ndarray]) -> tuple[Any, Any]:
    """Mean and standard deviation of arrays [n, ...] together, in float64.

    They are numbers if the last axis has one entry, or if there is none, else tuples with one per
    entry of the last axis.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        values = np.asarray(block, np.float64)
        values = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        # Chan, Golub and LeVeque 1983: merges the moments of two parts without cancellation.
        own = values.mean(axis=0)
        delta, total = own - mean, count + len(values)
        squares = squares + np.square(values - own).sum(axis=0)
        squares = squares + delta**2 * count * len(values) / total
        mean, count = mean + delta * len(values) / total, total
    std = np.sqrt(squares / count)
    std = np.where(std > 0, std, 1.0)
    if len(mean) == 1:
        return float(mean[0]), float(std[0])
    return tuple(map(float, mean)), tuple(map(float, std))


def class_counts(split: Split, num_classes: int) -> tuple[int, ...]:
    """The number of examples of each class."""
    return tuple(map(int, np.bincount(split.all_targets, minlength=num_classes)))
