"""Provides batches on the device, from a resident data set or sent from the host with each chunk.

Either way a step sees the same batch, so the choice changes speed and memory, never results.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from runner.data.dataset import Dataset, Examples, Split
from runner.data.order import batch_indices
from runner.data.preparation import Preparation
from runner.pytree import Pytree

Placement = Literal["device", "host"]
SplitName = Literal["train", "validation", "test"]

# The share of the device's memory that a resident data set may take.
RESIDENT_SHARE = 0.4
# The most bytes of a chunk's batches; those of two chunks exist at a time, in use and in transfer.
HOST_CHUNK_BYTES = 32 * 2**20
EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Source(Pytree):
    """Where a compiled step reads examples from; an argument of the program, not a constant.

    resident: the examples of a split on the device; None if batches contain them themselves.
    """

    resident: Examples | None = None
    preparation: Preparation = field(default_factory=Preparation)

    def prepared(self, batch: Any) -> Examples:
        """What the model sees of a batch.

        ``batch``: indices [batch] into the resident examples, or the ``Examples`` themselves.
        """
        if self.resident is None:
            examples = Examples(*batch)
        else:
            examples = jax.tree.map(
                lambda array: array.at[batch].get(mode="promise_in_bounds"), self.resident
            )
        return self.preparation(examples)


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
    ) -> None:
        self.placement: Placement = placement
        self._dataset, self._device = dataset, device
        self._batch_size, self._seed = batch_size, seed
        self._preparation = Preparation.of(dataset.mean, dataset.std)
        self._sources: dict[int, Source] = {}
        self.train_source = self.source("train")

    def source(self, name: SplitName) -> Source:
        """What the batches of a split are read from; one without validation has that of test."""
        split = self._split(name)
        if id(split) not in self._sources:
            resident = split.all() if self.placement == "device" else None
            source = Source(resident, self._preparation)
            self._sources[id(split)] = jax.device_put(source, self._device)
        return self._sources[id(split)]

    def batches(self, first_step: int, count: int, *, capacity: int) -> Any:
        """Batches [capacity, batch, ...] on the device; those after ``count`` are padding."""
        split = self._dataset.train
        indices = np.zeros((capacity, self._batch_size), np.int32)
        indices[:count] = batch_indices(
            seed=self._seed,
            first_step=first_step,
            count=count,
            batch_size=self._batch_size,
            n=len(split),
        )
        return self._on_device(split, indices)

    def split_batches(self, name: SplitName) -> Iterator[tuple[Any, jax.Array]]:
        """A split in order, as batches with a mask [batch] that is False for padding."""
        split = self._split(name)
        n = len(split)
        batch = min(n, EVALUATION_BATCH)
        for start in range(0, n, batch):
            indices = np.arange(start, start + batch, dtype=np.int32)
            valid = jax.device_put(indices < n, self._device)
            yield self._on_device(split, np.minimum(indices, n - 1)), valid

    def batch_bytes(self) -> int:
        """The bytes that are sent to the device for one step."""
        if self.placement == "device":
            return self._batch_size * np.dtype(np.int32).itemsize
        return self._batch_size * self._dataset.train.example_bytes

    def _split(self, name: SplitName) -> Split:
        named = {**self._dataset.splits, "validation": self._dataset.selection}
        return named[name]

    def _on_device(self, split: Split, indices: np.ndarray) -> Any:
        batch = indices if self.placement == "device" else split.take(indices)
        return jax.device_put(batch, self._device)


def choose_placement(dataset: Dataset, device: jax.Device) -> Placement:
    """``device`` when the data set fits beside a model there, else ``host``."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:  # the CPU backend shares the host's memory, where the data set already is
        return "device"
    size = sum(len(split) * split.example_bytes for split in dataset.splits.values())
    return "device" if size <= RESIDENT_SHARE * limit else "host"
