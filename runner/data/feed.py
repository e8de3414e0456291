"""Provides batches on the device, from a resident data set or sent from the host.

Wherever the examples are, a step sees the same batch: placement changes speed and memory, never
results.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, Self

import jax
import numpy as np

from runner.data.augmentation import Augmentation
from runner.data.dataset import Dataset, Examples, Split
from runner.data.order import batch_indices
from runner.data.prefetch import Prefetch
from runner.data.preparation import Preparation
from runner.pytree import Pytree

Placement = Literal["device", "host", "stream"]
SplitName = Literal["train", "validation", "test"]

# The share of the device's memory that a resident data set may take.
RESIDENT_SHARE = 0.4
# The most bytes of a chunk's batches; two chunks exist at a time, one in use, one in transfer.
HOST_CHUNK_BYTES = 32 * 2**20
EVALUATION_BATCH = 1024
# Chunks of examples from the host are padded to the capacity divided by a power of this.
_FEWER = 4
# Bytes of batches that are gathered ahead of the step that needs them.
_AHEAD_BYTES = 2 * HOST_CHUNK_BYTES


@dataclass(frozen=True)
class Source(Pytree):
    """Where a compiled step reads examples from; an argument of the program, not a constant.

    resident: the examples of a split on the device; None if batches contain them themselves.
    """

    resident: Examples | None = None
    preparation: Preparation = field(default_factory=Preparation)

    def prepared(self, batch: Any, key: jax.Array | None = None) -> Examples:
        """What the model sees of a batch; in training a ``key`` draws its augmentation.

        ``batch``: indices [batch] into the resident examples, or the ``Examples`` themselves.
        """
        if self.resident is None:
            examples = Examples(*batch)
        else:
            examples = jax.tree.map(
                lambda array: array.at[batch].get(mode="promise_in_bounds"), self.resident
            )
        return self.preparation(key, examples)


class Feed:
    """The batches of each step, a function of (seed, step), and those of an evaluation."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        placement: Placement,
        device: jax.Device,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.placement: Placement = placement
        self._dataset, self._device = dataset, device
        self._batch_size, self.seed = batch_size, seed
        self._preparation = Preparation.of(dataset.mean, dataset.std, augmentation)
        self._sources: dict[Split, Source] = {}
        self._evaluations: dict[Split, list[tuple[Any, jax.Array]]] = {}
        # Feeds that share a data set are used by several threads, and send it to the device once.
        self._lock = Lock()
        self._ahead: Prefetch[Examples] | None = None

    def reseeded(self, seed: int) -> Self:
        """A feed with another order of examples that shares what is on the device; close both."""
        feed = copy(self)
        feed.seed, feed._ahead = seed, None
        return feed

    def source(self, name: SplitName) -> Source:
        """What the batches of a split are read from; test replaces a missing validation split."""
        split = self._split(name)
        with self._lock:
            if split not in self._sources:
                resident = split.all() if self.placement == "device" else None
                source = Source(resident, self._preparation)
                self._sources[split] = jax.device_put(source, self._device)
            return self._sources[split]

    def batches(self, first_step: int, count: int, *, capacity: int) -> Any:
        """Batches [length, batch, ...] for a program; those after ``count`` are padding.

        ``length`` is ``capacity``. Examples from the host may have a shorter one of a few lengths:
        each length needs its own program.
        """
        batches = self.host_batches(first_step, count, capacity=capacity)
        if self.placement == "device":
            return batches  # as arguments of a program, indices arrive sooner than by device_put
        return jax.device_put(batches, self._device)

    def host_batches(self, first_step: int, count: int, *, capacity: int) -> Any:
        """``batches`` in the host's memory."""
        if self.placement == "device":
            indices = np.zeros((capacity, self._batch_size), np.int32)
            indices[:count] = self._indices(first_step, count)
            return indices
        while capacity // _FEWER >= count:
            capacity //= _FEWER
        rows = list(self._gathered(first_step, count))
        rows += [rows[-1]] * (capacity - count)
        return jax.tree.map(lambda *arrays: np.stack(arrays), *rows)

    def single_batches(self, first_step: int, count: int) -> Iterator[Any]:
        """The batches of some steps, one at a time; examples are sent to the device on request."""
        if self.placement == "device":
            yield from jax.device_put(list(self._indices(first_step, count)), self._device)
        else:
            for batch in self._gathered(first_step, count):
                yield jax.device_put(batch, self._device)

    def close(self) -> None:
        """Ends the thread that gathers batches."""
        if self._ahead is not None:
            self._ahead.close()

    def split_batches(self, name: SplitName) -> Iterator[tuple[Any, jax.Array]]:
        """A split in order, as batches with a mask [batch] that is False for padding."""
        split = self._split(name)
        for indices, valid in self._evaluated(split):
            if self.placement == "device":
                yield indices, valid
            else:
                yield jax.device_put(split.take(indices), self._device), valid

    def batch_bytes(self) -> int:
        """The bytes that are sent to the device for one step."""
        if self.placement == "device":
            return self._batch_size * np.dtype(np.int32).itemsize
        return self._batch_size * self._dataset.train.example_bytes

    def _indices(self, first_step: int, count: int) -> np.ndarray:
        return batch_indices(
            seed=self.seed,
            first_step=first_step,
            count=count,
            batch_size=self._batch_size,
            n=len(self._dataset.train),
        )

    def _gathered(self, first_step: int, count: int) -> Iterator[Examples]:
        train = self._dataset.train
        if self.placement == "host":
            return (train.take(row) for row in self._indices(first_step, count))
        if self._ahead is None or self._ahead.next_step != first_step:
            self.close()
            depth = max(2, _AHEAD_BYTES // self.batch_bytes())
            gather = lambda step: train.take(self._indices(step, 1)[0])  # noqa: E731
            self._ahead = Prefetch(gather, first_step, depth=depth)
        return self._ahead.take(count)

    def _split(self, name: SplitName) -> Split:
        named = {**self._dataset.splits, "validation": self._dataset.selection}
        return named[name]

    def _evaluated(self, split: Split) -> list[tuple[Any, jax.Array]]:
        """The indices and the mask of each batch of an evaluation, made once."""
        with self._lock:
            if split in self._evaluations:
                return self._evaluations[split]
            n = len(split)
            size, batches = min(n, EVALUATION_BATCH), []
            for start in range(0, n, size):
                indices = np.arange(start, start + size, dtype=np.int32)
                batch: Any = np.minimum(indices, n - 1)
                if self.placement == "device":
                    batch = jax.device_put(batch, self._device)
                batches.append((batch, jax.device_put(indices < n, self._device)))
            self._evaluations[split] = batches
            return batches


def choose_placement(dataset: Dataset, device: jax.Device) -> Placement:
    """``device`` when the data set fits beside a model there, else ``stream``.

    The CPU backend shares the host's memory: there a data set stays where it is, in memory
    (``device``), or in mapped files or overlapping blocks (``stream``), which take less of it.
    """
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:
        grows = any(_grows_in_memory(split.inputs) for split in dataset.splits.values())
        return "stream" if grows else "device"
    size = sum(len(split) * split.example_bytes for split in dataset.splits.values())
    return "device" if size <= RESIDENT_SHARE * limit else "stream"


def _grows_in_memory(array: np.ndarray) -> bool:
    """Whether a copy of ``array`` takes memory that it does not take itself."""
    first, last = np.lib.array_utils.byte_bounds(array)
    return isinstance(array, np.memmap) or last - first < array.nbytes
