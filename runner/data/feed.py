"""Provides batches on the device, from a resident data set or sent from the host with each chunk.

Either way a step sees the same batch, so the choice changes speed and memory, never results.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from runner.data.dataset import Dataset, Split
from runner.data.order import batch_indices
from runner.pytree import Pytree

Placement = Literal["device", "host"]

# The share of the device's memory that a resident data set may take.
RESIDENT_SHARE = 0.4
# The most bytes of a chunk's batches; those of two chunks exist at a time, in use and in transfer.
HOST_CHUNK_BYTES = 32 * 2**20
EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Source(Pytree):
    """Where a compiled step reads examples from; an argument of the program, not a constant.

    inputs [n, ...] and targets [n]: the data set; None if batches contain the examples themselves.
    mean, std: scalars; the model sees ``(inputs - mean) / std`` in float32.
    """

    inputs: Any
    targets: Any
    mean: Any
    std: Any

    def examples(self, batch: Any) -> tuple[jax.Array, jax.Array]:
        """Normalised inputs [batch, ...] and targets [batch].

        ``batch``: indices [batch] into the data set, or the (inputs, targets) themselves.
        """
        if self.inputs is None:
            inputs, targets = batch
        else:
            inputs, targets = (
                array.at[batch].get(mode="promise_in_bounds")
                for array in (self.inputs, self.targets)
            )
        return self.normalised(inputs), targets

    def normalised(self, inputs: jax.Array) -> jax.Array:
        """What the model sees of raw inputs [batch, ...], float32."""
        return (inputs.astype(jnp.float32) - self.mean) / self.std


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
        self.train_source = self._source(dataset.train)
        self.test_source = self._source(dataset.test)

    def batches(self, first_step: int, count: int, *, capacity: int) -> Any:
        """Batches [capacity, batch, ...] on the device; those after ``count`` are padding."""
        split = self._dataset.train
        indices = np.zeros((capacity, self._batch_size), np.int32)
        indices[:count] = batch_indices(
            seed=self._seed,
            first_step=first_step,
            count=count,
            batch_size=self._batch_size,
            n=len(split.targets),
        )
        return self._on_device(split, indices)

    def evaluation_batches(self) -> Iterator[tuple[Any, jax.Array]]:
        """The test split in order, as batches with a mask [batch] that is False for padding."""
        split = self._dataset.test
        n = len(split.targets)
        batch = min(n, EVALUATION_BATCH)
        for start in range(0, n, batch):
            indices = np.arange(start, start + batch, dtype=np.int32)
            valid = jax.device_put(indices < n, self._device)
            yield self._on_device(split, np.minimum(indices, n - 1)), valid

    def batch_bytes(self) -> int:
        """The bytes that are sent to the device for one step."""
        if self.placement == "device":
            return self._batch_size * np.dtype(np.int32).itemsize
        split = self._dataset.train
        return self._batch_size * (split.inputs[0].nbytes + split.targets[0].nbytes)

    def _source(self, split: Split) -> Source:
        mean, std = np.float32(self._dataset.mean), np.float32(self._dataset.std)
        resident = self.placement == "device"
        source = Source(
            split.inputs if resident else None, split.targets if resident else None, mean, std
        )
        return jax.device_put(source, self._device)

    def _on_device(self, split: Split, indices: np.ndarray) -> Any:
        if self.placement == "device":
            return jax.device_put(indices, self._device)
        return jax.device_put((split.inputs[indices], split.targets[indices]), self._device)


def choose_placement(dataset: Dataset, device: jax.Device) -> Placement:
    """``device`` when the data set fits beside a model there, else ``host``."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:  # the CPU backend shares the host's memory, where the data set already is
        return "device"
    size = sum(
        array.nbytes
        for split in (dataset.train, dataset.test)
        for array in (split.inputs, split.targets)
    )
    return "device" if size <= RESIDENT_SHARE * limit else "host"
