"""Assembles a data set from a user's own examples: holds out a test split, checks the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etils import epy

from runner.data.dataset import Dataset, Split
from runner.data.splits import drawn
from runner.errors import DataError

with epy.lazy_imports():
    import numpy as np


def assembled(
    key: str,
    splits: Mapping[str, Split],
    *,
    num_classes: int | None,
    classes: tuple[str, ...] | None,
    test_share: float,
    test_seed: int,
) -> Dataset:
    """The data set of some splits; without ``test``, a share of ``train`` is held out for it.

    Args:
      key: names the data in errors.
      num_classes, classes: as for a data set.

    Raises:
      DataError: there are too few examples to hold some out, or a class of another split has no
        training example.
    """
    found = dict(splits)
    if "test" not in found:
        by_class = num_classes is not None and found["train"].targets.ndim == 1
        found["train"], found["test"] = with_test_share(
            key, found["train"], share=test_share, seed=test_seed, by_class=by_class
        )
    if num_classes is not None:
        others = [split for part, split in found.items() if part != "train"]
        check_trained(key, [found["train"], *others], num_classes, classes)
    return Dataset(
        train=found["train"],
        validation=found.get("validation"),
        test=found["test"],
        num_classes=num_classes,
        classes=classes,
    )


def check_trained(
    key: str,
    splits: Sequence[Split],
    num_classes: int,
    classes: Sequence[str] | None = None,
    *,
    remedy: str = "give training examples of it, or leave the class out",
) -> None:
    """Checks that the first split, the training split, has every class of the others.

    Raises:
      DataError: a class is missing; ``key`` names the data, ``classes`` the classes.
    """
    counts = [np.bincount(s.all_targets.ravel(), minlength=num_classes) for s in splits]
    missing = np.flatnonzero((counts[0] == 0) & (sum(counts[1:]) > 0))
    if len(missing):
        name = missing[0] if classes is None else repr(classes[missing[0]])
        problem = f"class {name} is in the test or validation split, but not in the training split"
        raise DataError(key, problem, remedy)


def with_test_share(
    key: str, split: Split, *, share: float, seed: int, by_class: bool
) -> tuple[Split, Split]:
    """Divides a split into a training split and a test split, drawn at random.

    Args:
      key: names the data in errors.
      by_class: draws the same share of each class.

    Raises:
      DataError: one of the two would have no examples.
    """
    n = len(split)
    held_out = drawn(n, split.targets if by_class else None, share=share, seed=seed)
    if not held_out.any() or held_out.all():
        count = int(held_out.sum())
        problem = f"{share:g} of its {n} examples leaves {n - count} to train and {count} to test"
        raise DataError(key, problem, "give more examples, or set another dataset.test_share")
    train, test = (np.flatnonzero(part).astype(np.int32) for part in (~held_out, held_out))
    return Split(split.inputs, split.targets, train), Split(split.inputs, split.targets, test)
