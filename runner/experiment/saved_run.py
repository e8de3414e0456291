"""A saved run's model, ready for use: it needs neither the data set nor the optimizer's state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from runner.config import Config
from runner.data.dataset import Dataset, Split
from runner.data.feed import EVALUATION_BATCH, Feed
from runner.data.preparation import Preparation
from runner.errors import DataError, reason
from runner.experiment.model import fit_model
from runner.experiment.parts import build_objective, prepared_example
from runner.objectives import Objective, Targets
from runner.optimizers import Optimizer
from runner.training.checkpoint import named_leaves, stored_variables
from runner.training.evaluation import Variables, compute_outputs, evaluate
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
      checkpoint, step: the path of the checkpoint, and the number of updates up to it.
      variables: for ``model.apply``: the parameters that evaluations use, and the model's state.
      shape: of one input.
      mean, std: the model sees ``(inputs - mean) / std`` in float32: numbers, or one per channel;
        None for inputs that it sees as stored, such as tokens.
      classes: the names of the classes in the order of the logits, or None if they have none.
      objective: what the model was trained for.
      static: what predictions are compiled for.
    """

    config: Config = field(repr=False)
    checkpoint: Path
    step: int
    variables: Variables = field(repr=False)
    shape: tuple[int, ...]
    dtype: str
    mean: Any = field(repr=False)
    std: Any = field(repr=False)
    classes: tuple[str, ...] | None
    objective: Objective
    num_classes: int | None
    static: Static = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The flax module; outputs are ``model.apply(variables, normalised, train=False)``."""
        return self.static.model

    @property
    def origin(self) -> dict[str, Any]:
        """The run folder and the step, for the records of what is made from the run."""
        return {"folder": str(self.checkpoint.parents[1]), "step": self.step}

    def arrays(self) -> dict[str, np.ndarray]:
        """The variables by path, such as ``params/Dense_0/kernel``."""
        return {path: np.asarray(leaf) for path, leaf in named_leaves(self.variables).items()}

    def predict(self, inputs: Any) -> np.ndarray:
        """Predictions, float32 [n, ...], of raw inputs [n, ...] as the data set stores them.

        They are logits [n, classes] of a classifier, and values in the units of the targets of a
        regression.

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
        dtype = np.dtype(np.float32 if self.mean is not None else self.dtype)
        found = [
            np.asarray(
                predictions(self.static, self.variables, self.objective, self.preparation, batch)
            )[:count]
            for batch, count in _batches(raw, dtype)
        ]
        return np.concatenate(found or [np.zeros((0, *self.objective.output_shape), np.float32)])

    def evaluate(self, split: Split, *, device: jax.Device) -> dict[str, float]:
        """The metrics by name, as the run's own evaluations compute them, normalisation included.

        Raises:
          DataError: the inputs do not have the run's shape, or a label is not one of its classes.
        """
        self._check(split.inputs, "dataset inputs")
        feed = Feed(self._dataset(split), batch_size=1, seed=0, placement="host", device=device)
        source, batches = feed.source("test"), feed.split_batches("test")
        metrics = evaluate(self.static, self.variables, self.objective, source, batches)
        return {name: float(value) for name, value in metrics.items() if not value.ndim}

    @property
    def preparation(self) -> Preparation:
        """The normalisation, as an argument of compiled functions."""
        return Preparation.of(self.mean, self.std)

    def _dataset(self, split: Split) -> Dataset:
        return Dataset(
            train=split,
            test=split,
            num_classes=self.num_classes,
            mean=self.mean,
            std=self.std,
            normalized=self.mean is not None,
        )

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
    targets = Targets.of_record(data["targets"])
    objective = build_objective(config.objective, targets)
    example = prepared_example(shape, data["dtype"], data["mean"] is not None)
    model = fit_model(config.model, example, objective)
    variables = stored_variables(model.variables, saved.arrays, source=str(saved.path))
    classes = data["classes"]
    return SavedRun(
        config=config,
        checkpoint=saved.path,
        step=saved.step,
        variables=jax.device_put(variables),
        shape=shape,
        dtype=data["dtype"],
        mean=data["mean"],
        std=data["std"],
        classes=None if classes is None else tuple(classes),
        objective=jax.device_put(objective),
        num_classes=targets.num_classes,
        static=Static(
            model=model.module,
            # Named only: nothing is trained here.
            optimizer=Optimizer(config.optimizer.name, static=(), momentum_name=None),
            compute_dtype=config.training.compute_dtype,
        ),
    )


@partial(jax.jit, static_argnames="static")
def predictions(
    static: Static,
    variables: Variables,
    objective: Objective,
    preparation: Preparation,
    raw: jax.Array,
) -> jax.Array:
    """What ``SavedRun.predict`` returns of raw inputs [batch, ...]."""
    outputs = compute_outputs(static, variables, preparation.normalised(raw))
    return objective.predictions(outputs)


def _batches(inputs: np.ndarray, dtype: np.dtype) -> Iterator[tuple[np.ndarray, int]]:
    """Batches, padded to a power of two and converted to ``dtype``, with their sizes."""
    for start in range(0, len(inputs), EVALUATION_BATCH):
        batch = inputs[start : start + EVALUATION_BATCH].astype(dtype)
        padding = (1 << (len(batch) - 1).bit_length()) - len(batch)
        yield np.pad(batch, [(0, padding), *[(0, 0)] * (batch.ndim - 1)]), len(batch)
