"""What training carries from step to step, and the numbers that steer it; both are pytrees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from runner.optimizers import Wrappers
from runner.schedules import Schedule


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a run is at ``step``; nothing else has to be kept to go on from there.

    step: completed optimizer updates, int32 scalar.
    params, model_state: the model's parameters, frozen ones among them, and its other variables.
    opt_state: optax's state, of the parameters that are trained.
    key: the PRNG key of the run; a step's own key is ``fold_in(key, step)``.
    slow: lookahead's slow parameters, None without lookahead. In the place of a frozen parameter
      there is None, here and in the average.
    average: the moving average of the trained parameters, None where none is kept.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    key: jax.Array
    slow: Any
    average: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """Every number a person may sweep over, as arrays: arguments of the program, never part of it.

    schedule: step → rate (and momentum, where it is cycled).
    optimizer: the optimizer's float arguments by name, float32: scalars, or one for each group.
    wrappers: what surrounds the optimizer.
    """

    schedule: Schedule
    optimizer: Mapping[str, Any]
    wrappers: Wrappers


def count(tree: Any) -> int:
    """How many numbers a pytree of arrays, or of their shapes alone, holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def count_bytes(tree: Any) -> int:
    """The memory that a pytree of arrays, or of their shapes alone, takes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
