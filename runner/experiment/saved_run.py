"""A saved run's model, ready for use: it needs neither the data set nor the optimizer's state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from runner.config import Config
from runner.data.dataset import Dataset, Split
from runner.data.feed import EVALUATION_BATCH, Feed, Source
from runner.errors import DataError, reason
from runner.experiment.model import fit_model
from runner.optimizers import Optimizer
from runner.training.checkpoint import named_leaves, stored_variables
from runner.training.evaluation import Variables, compute_logits, evaluate
from runner.training.state import Static

_GIVE = "give numbers, raw as the data set stores them"


class Saved(Protocol):
    """A checkpoint; see ``records.checkpoints.Checkpoint``."""

    @property
    def step(self) -> int: ...
    @property
    def path(self) -> Path: ...
    @property
    def arrays(self) -> Mapping[str, np.ndarray]: ...
    @property
    def record(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A trained model with what is needed to use it.

    Attributes:
      config: the run's configuration.
      checkpoint, step: where the parameters were read, and after how many updates.
      variables: for ``model.apply``: the parameters that evaluations use, and the model's state.
      shape: of one input.
      mean, std: the model sees ``(inputs - mean) / std`` in float32.
      classes: the names of the classes in the order of the logits, or None if they have none.
      static: what predictions are compiled for.
    """

    config: Config
    checkpoint: Path
    step: int
    variables: Variables
    shape: tuple[int, ...]
    num_classes: int
    mean: float
    std: float
    classes: tuple[str, ...] | None
    static: Static

    @property
    def model(self) -> nn.Module:
        """The flax module; ``model.apply(variables, normalised, train=False)`` gives logits."""
        return self.static.model

    @property
    def origin(self) -> dict[str, Any]:
        """The run folder and the step, for the records of what is made from the run."""
        return {"folder": str(self.checkpoint.parents[1]), "step": self.step}

    def arrays(self) -> dict[str, np.ndarray]:
        """The variables by path, such as ``params/Dense_0/kernel``."""
        return {path: np.asarray(leaf) for path, leaf in named_leaves(self.variables).items()}

    def predict(self, inputs: Any) -> np.ndarray:
        """Logits, float32 [n, classes], of raw inputs [n, ...] as the data set stores them.

        Inputs are sent to the device in batches, whose sizes are powers of two, so that few
        programs are compiled.

        Raises:
          DataError: the inputs are not numbers, or not of the shape that the model was trained on.
        """
        try:
            raw = np.asarray(inputs)
        except ValueError as error:
            raise DataError("inputs", f"are not an array ({reason(error)})", _GIVE) from error
        self._check(raw, "inputs")
        logits = [
            np.asarray(raw_logits(self.static, self.variables, self.source, batch))[:count]
            for batch, count in _batches(raw)
        ]
        return np.concatenate([np.zeros((0, self.num_classes), np.float32), *logits])

    def evaluate(self, split: Split, *, device: jax.Device) -> dict[str, float]:
        """The metrics by tag, as the run's own evaluations compute them, normalisation included.

        Raises:
          DataError: the inputs do not have the run's shape, or a label is not one of its classes.
        """
        self._check(split.inputs, "dataset inputs")
        scored = Dataset(
            train=split, test=split, num_classes=self.num_classes, mean=self.mean, std=self.std
        )
        feed = Feed(scored, batch_size=1, seed=0, placement="host", device=device)
        batches = feed.evaluation_batches()
        means = evaluate(self.static, self.variables, feed.test_source, batches)
        return {tag: float(np.asarray(value)) for tag, value in means.items()}

    @property
    def source(self) -> Source:
        """The normalisation, as an argument of compiled functions."""
        return Source(None, None, np.float32(self.mean), np.float32(self.std))

    def _check(self, inputs: np.ndarray, key: str) -> None:
        numbers = (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(inputs.dtype, kind) for kind in numbers):
            raise DataError(key, f"have the type {inputs.dtype}", _GIVE)
        if inputs.ndim == 0 or inputs.shape[1:] != self.shape:
            expected = f"[n, {', '.join(map(str, self.shape))}]"
            problem = f"have the shape {list(inputs.shape)}, the run's have {expected}"
            raise DataError(key, problem, _GIVE)


def saved_run(config: Config, saved: Saved) -> SavedRun:
    """The run that ``config`` describes, with the model that ``saved`` holds.

    Raises:
      ConfigError: the model cannot be built.
      StorageError: the model that is built is not the one that was saved.
    """
    data = saved.record["data"]
    shape = tuple(data["shape"])
    example = jax.ShapeDtypeStruct((1, *shape), np.float32)
    model = fit_model(config.model, example, num_classes=data["num_classes"])
    variables = stored_variables(model.variables, saved.arrays, source=str(saved.path))
    classes = data["classes"]
    return SavedRun(
        config=config,
        checkpoint=saved.path,
        step=saved.step,
        variables=jax.device_put(variables),
        shape=shape,
        num_classes=data["num_classes"],
        mean=data["mean"],
        std=data["std"],
        classes=None if classes is None else tuple(classes),
        static=Static(
            model=model.module,
            # Named only: nothing is trained here.
            optimizer=Optimizer(config.optimizer.name, static=(), momentum_name=None),
            compute_dtype=config.training.compute_dtype,
        ),
    )


@partial(jax.jit, static_argnames="static")
def raw_logits(static: Static, variables: Variables, source: Source, raw: jax.Array) -> jax.Array:
    """Logits [batch, classes], float32, of raw inputs [batch, ...]."""
    return compute_logits(static, variables, source.normalised(raw))


def _batches(inputs: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Batches, padded to a power of two and converted to float32, with their numbers of inputs."""
    for start in range(0, len(inputs), EVALUATION_BATCH):
        batch = inputs[start : start + EVALUATION_BATCH].astype(np.float32)
        padding = (1 << (len(batch) - 1).bit_length()) - len(batch)
        yield np.pad(batch, [(0, padding), *[(0, 0)] * (batch.ndim - 1)]), len(batch)
