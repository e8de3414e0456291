"""What training carries from step to step, and the numbers that steer it; both are pytrees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from runner.schedules import Schedule


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a run is at ``step``; nothing else has to be kept to go on from there.

    step: completed optimizer updates, int32 scalar.
    params, model_state: the model's trained parameters and its other variables.
    opt_state: optax's state.
    key: the PRNG key of the run; a step's own key is ``fold_in(key, step)``.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    key: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """Every number a person may sweep over, as arrays: arguments of the program, never part of it.

    schedule: step → rate (and momentum, where it is cycled).
    optimizer: the optimizer's float arguments by name, float32 scalars.
    """

    schedule: Schedule
    optimizer: Mapping[str, Any]


def count(tree: Any) -> int:
    """How many numbers a pytree of arrays, or of their shapes alone, holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
