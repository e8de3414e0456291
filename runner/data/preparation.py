"""What the model sees of the stored examples, computed on the device."""

from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from runner.data.augmentation import Augmentation
from runner.data.dataset import Examples
from runner.pytree import Pytree


@dataclass(frozen=True)
class Preparation(Pytree):
    """Normalises inputs and, for training, augments them.

    mean, std: scalars, or one number per channel (the last axis): the model sees
      ``(inputs - mean) / std`` in float32. None for inputs that are used as stored, such as tokens.
    """

    mean: Any = None
    std: Any = None
    augmentation: Augmentation | None = None

    @classmethod
    def of(cls, mean: Any, std: Any, augmentation: Augmentation | None = None) -> Self:
        """The preparation with these numbers or lists of numbers, if any, as arrays on the host."""
        if mean is None:
            return cls(augmentation=augmentation)
        return cls(np.asarray(mean, np.float32), np.asarray(std, np.float32), augmentation)

    def __call__(self, key: jax.Array | None, examples: Examples) -> Examples:
        """The prepared batch; without a ``key`` it is not augmented."""
        prepared = examples._replace(inputs=self.normalised(examples.inputs))
        if key is None or self.augmentation is None:
            return prepared
        return self.augmentation(key, prepared)

    def normalised(self, inputs: jax.Array) -> jax.Array:
        """What the model sees of raw inputs [batch, ...]."""
        if self.mean is None:
            return inputs
        return (inputs.astype(jnp.float32) - self.mean) / self.std
