"""What training carries from step to step, takes as arguments and is compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax

from runner.objectives import Objective
from runner.optimizers import Groups, Optimizer, Wrappers
from runner.pytree import Pytree
from runner.schedules import Schedule
from runner.schedules.plateau import Plateau

ComputeDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainState(Pytree):
    """Everything needed to resume.

    step: completed optimizer updates, int32 scalar.
    params: all parameters of the model, including frozen ones.
    model_state: the model's other variables, such as running statistics.
    opt_state: optax's state of the trained parameters.
    key: the PRNG key of the run; each step uses ``fold_in(key, step)``.
    slow: lookahead's slow parameters, or None without lookahead. Frozen parameters are None here
      and in ``average``.
    average: the moving average of the trained parameters, or None if none is kept.
    averaged_model_state: ``model_state`` averaged like ``average`` or ``slow``, so that running
      statistics match the parameters; None without an average, or without a model state.
    plateau: best value and counts of evaluations for a schedule that depends on them, else None.
    stopping: best value and counts of evaluations for early stopping, else None.
    rate_factor: multiplies every rate, float32 scalar; halved when a diverged run backs off; None
      if the run does not back off.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    key: jax.Array
    slow: Any
    average: Any
    averaged_model_state: Any = None
    plateau: Any = None
    stopping: Any = None
    rate_factor: Any = None


@dataclass(frozen=True)
class Hyperparams(Pytree):
    """The arrays a program takes beside its state; changing their values never recompiles.

    schedule: step → rate, and momentum if the schedule cycles it.
    optimizer: the optimizer's float arguments by name, float32: scalars or [groups].
    wrappers: multiplier, clipping, lookahead and averaging around the optimizer.
    objective: the loss and the metrics.
    stopping: ends training early, or None.
    """

    schedule: Schedule
    optimizer: Mapping[str, Any]
    wrappers: Wrappers
    objective: Objective
    stopping: Plateau | None = None


@dataclass(frozen=True)
class Static:
    """What a program is compiled for; equal values share one compiled program.

    model: the flax module.
    optimizer: which optimizer, without its hyperparameters.
    groups: which parameters have rates of their own or are frozen.
    accumulate: microbatches whose gradients are averaged into one update.
    compute_dtype: what the model computes in; parameters, loss and optimizer stay in float32.
    backs_off: whether the state has a ``rate_factor``.
    """

    model: nn.Module
    optimizer: Optimizer
    groups: Groups = field(default_factory=Groups)
    accumulate: int = 1
    compute_dtype: ComputeDtype = "float32"
    backs_off: bool = False


def tree_size(tree: Any) -> int:
    """The number of elements in a pytree of arrays or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def tree_bytes(tree: Any) -> int:
    """The memory a pytree of arrays, or of their shapes, takes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
