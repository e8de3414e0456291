"""What a data source returns: validated splits of inputs and targets, in memory or mapped files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from etils import epy

from runner.config.markers import Number, Whole
from runner.config.signature import require
from runner.errors import FLOAT32_MAX, ConfigError, DataError, shown

with epy.lazy_imports():
    import numpy as np

# Bytes of inputs that are checked, or summed up, at a time.
_BLOCK_BYTES = 8 * 2**20


class Examples(NamedTuple):
    """Some examples: inputs and targets [n, ...].

    others, shares: if examples are mixed: the targets of the example that each is mixed with, and
      the share [n] of its own targets.
    """

    inputs: Any
    targets: Any
    others: Any = None
    shares: Any = None


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in the order of the source.

    Attributes:
      inputs: [n, ...] of any real dtype, as stored (not yet normalised); may be a mapped file.
      targets: [n, ...], int32 for classes and tokens, float32 for real numbers.
      rows: the split has only these examples of the arrays, int32 in increasing order; None for
        all of them.
    """

    inputs: np.ndarray
    targets: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets if self.rows is None else self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.inputs.shape[1:]

    @property
    def example_bytes(self) -> int:
        """The memory that one example takes."""
        arrays = self.inputs, self.targets
        return sum(array.itemsize * int(np.prod(array.shape[1:])) for array in arrays)

    @property
    def all_targets(self) -> np.ndarray:
        """The targets of all examples."""
        return self.targets if self.rows is None else self.targets[self.rows]

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at ``indices``, an array of any shape."""
        rows = indices if self.rows is None else self.rows[indices]
        return Examples(self.inputs[rows], self.targets[rows])

    def all(self) -> Examples:
        """All examples, in memory."""
        rows = slice(None) if self.rows is None else self.rows
        return Examples(self.inputs[rows], self.targets[rows])

    def blocks(self) -> Iterator[Examples]:
        """All examples, some at a time."""
        size = max(1, _BLOCK_BYTES // max(1, self.example_bytes))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            rows = part if self.rows is None else self.rows[part]
            yield Examples(self.inputs[rows], self.targets[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of a data set, and what is known about its values.

    Attributes:
      validation: decides which evaluation is the best; None to take it from the training split.
      num_classes: targets are integers below it (classes or tokens); None for real numbers.
      classes: the names of the classes, or of the tokens, in the order of their numbers.
      mean, std: the model sees ``(inputs - mean) / std``: numbers, or one per channel (the last
        axis of the inputs); None to compute them from the training split.
      normalized: False if the model sees inputs as stored, such as tokens.
      hold_out: share → training and validation split, for examples that must not be drawn at
        random, such as blocks of a text; None draws them.

    Raises:
      DataError: a split is empty, its shapes or the shapes of two splits disagree, inputs are not
        finite numbers, or a target is not finite or outside ``[0, num_classes)``.
      ConfigError: ``mean`` is not finite, ``std`` not finite and positive, there are fewer than
        two classes, or ``classes`` does not have one name for each.
    """

    train: Split
    test: Split
    validation: Split | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    normalized: bool = True
    hold_out: Callable[[float], tuple[Split, Split]] | None = None

    def __post_init__(self) -> None:
        self._check_examples()
        self._check_normalization("mean", self.mean, Number())
        self._check_normalization("std", self.std, Number(gt=0))

    def divided(self, *, train: Split, validation: Split | None) -> Dataset:
        """The data set with parts of its examples; they are not checked again."""
        return self._changed(train=train, validation=validation)

    def normalized_by(self, mean: Any, std: Any) -> Dataset:
        """The data set with ``mean`` and ``std``; the examples are not checked again.

        Raises:
          ConfigError: see ``Dataset``.
        """
        changed = self._changed(mean=mean, std=std)
        changed._check_normalization("mean", mean, Number())
        changed._check_normalization("std", std, Number(gt=0))
        return changed

    def _changed(self, **attributes: Any) -> Dataset:
        copy = object.__new__(Dataset)
        vars(copy).update({**vars(self), **attributes})
        return copy

    def _check_examples(self) -> None:
        if self.num_classes is not None:
            require("num_classes", self.num_classes, Whole(2))
        if self.classes is not None and len(self.classes) != self.num_classes:
            problem = f"{len(self.classes)} names for {self.num_classes} classes"
            raise ConfigError("classes", problem, "give one name for each class")
        for name, split in self.splits.items():
            if not isinstance(split, Split):
                raise DataError(f"{name} split", f"is {shown(split)}", "give a Split")
            _check_split(name, split, self.num_classes)
        for name, split in self.splits.items():
            _check_same(f"{name} inputs", split.inputs, "train inputs", self.train.inputs)
            _check_same(f"{name} targets", split.targets, "train targets", self.train.targets)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that the data set has, by name."""
        held_out = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **held_out, "test": self.test}

    @property
    def selection(self) -> Split:
        """The split that decides which evaluation is the best: validation, if there is one."""
        return self.test if self.validation is None else self.validation

    def decoded(self, tokens: np.ndarray) -> str:
        """The text of tokens [n]: their names, or bytes in UTF-8 where they have none."""
        if self.classes is not None:
            return "".join(self.classes[token] for token in tokens)
        return bytes(tokens.tolist()).decode(errors="replace")

    def _check_normalization(self, key: str, value: Any, marker: Number) -> None:
        if value is None:
            return
        numbers = np.ravel(np.asarray(value))
        channels = self.train.inputs.shape[-1]
        if np.ndim(value) and len(numbers) != channels:
            problem = f"has length {len(numbers)}, not the number of channels, {channels}"
            raise ConfigError(key, problem, "write a number, or one for each channel")
        for number in numbers:
            require(key, number.item(), marker)


def _check_split(name: str, split: Split, num_classes: int | None) -> None:
    inputs, targets = split.inputs, split.targets
    if inputs.ndim < 2 or 0 in inputs.shape[1:]:
        problem = f"have shape {inputs.shape}"
        raise DataError(f"{name} inputs", problem, "give [examples, ...], such as rows of columns")
    if targets.shape[:1] != inputs.shape[:1]:
        raise DataError(
            f"{name} targets",
            f"have shape {targets.shape} for {len(inputs)} inputs",
            "give one target for each input",
        )
    if len(split) == 0:
        raise DataError(f"{name} split", "holds no examples", "give at least one")
    expected = np.dtype(np.float32 if num_classes is None else np.int32)
    if targets.dtype != expected:
        wanted = f"give {expected} {'numbers' if num_classes is None else 'labels'}"
        raise DataError(f"{name} targets", f"are {targets.dtype}", wanted)
    if inputs.dtype.kind not in "buif":
        raise _not_finite(f"{name} inputs", inputs)
    start = 0
    for block in split.blocks():
        _check_finite(f"{name} inputs", block.inputs)
        if num_classes is None:
            _check_finite(f"{name} targets", block.targets)
        else:
            check_labels(f"{name} targets", block.targets, num_classes, first=start)
        start += len(block.targets)


def _check_finite(key: str, values: np.ndarray) -> None:
    # With a NaN among the values both are NaN, which fails every comparison.
    in_range = float(values.min()) >= -FLOAT32_MAX and float(values.max()) <= FLOAT32_MAX
    if not in_range:
        raise _not_finite(key, values)


def _not_finite(key: str, values: np.ndarray) -> DataError:
    problem = f"({values.dtype}) are not all finite numbers that float32 holds"
    return DataError(key, problem, "give finite numbers")


def _check_same(key: str, found: np.ndarray, other: str, expected: np.ndarray) -> None:
    if found.shape[1:] != expected.shape[1:]:
        problem = f"have shape {found.shape[1:]}, the {other} {expected.shape[1:]}"
        raise DataError(key, problem, "give both the same shape")


def check_labels(
    key: str, labels: np.ndarray, num_classes: int, *, first: int = 0, lowest: int = 0
) -> None:
    """Checks that labels are in ``[lowest, lowest + num_classes)``.

    Raises:
      DataError: a label is not; the first one is named. ``key`` is the error's key, ``first`` the
        number of the first example.
    """
    outside = (labels < lowest) | (labels >= lowest + num_classes)
    if outside.any():
        index = np.unravel_index(np.argmax(outside), outside.shape)
        raise DataError(
            key,
            f"label {labels[index]} of example {first + index[0]} is outside {lowest} to "
            f"{lowest + num_classes - 1}",
            "give labels of known classes",
        )
