"""The rates, the momentum and the cycle of an update, and the arrays of its metrics."""

from typing import Any

import jax
import jax.numpy as jnp

from runner.optimizers import Groups
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.tags import CYCLE, LOSS, MOMENTUM, RATE, group_rate

Metrics = dict[str, jax.Array]


def schedule_values(
    groups: Groups, hyperparams: Hyperparams, step: jax.Array, state: TrainState | None = None
) -> Metrics:
    """The rate, the cycle and, if the schedule cycles it, the momentum of update ``step``, by tag.

    With parameter groups there is one rate for each trained group. Without a ``state``, rates are
    those of a run without plateau reductions and back-offs.
    """
    schedule = hyperparams.schedule
    rates = group_rates(groups, hyperparams, step, state)
    values = (
        {group_rate(name): rates[groups.names.index(name)] for name in groups.trained_names}
        if groups.members
        else {RATE: rates[0]}
    )
    values |= {CYCLE: schedule.cycle(step)}
    return values | ({MOMENTUM: schedule.momentum(step)} if schedule.cycles_momentum else {})


def metric_shapes(groups: Groups, hyperparams: Hyperparams) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of each metric that ``train_step`` returns."""
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    values = jax.eval_shape(
        lambda hyperparams, step: schedule_values(groups, hyperparams, step), hyperparams, step
    )
    return {LOSS: scalar, **values}


def empty_metrics(static: Static, hyperparams: Hyperparams, capacity: int) -> Metrics:
    """The metrics of a chunk before its first step: zeros [capacity] by tag."""
    return {
        tag: jnp.zeros((capacity, *leaf.shape), leaf.dtype)
        for tag, leaf in metric_shapes(static.groups, hyperparams).items()
    }


def set_metrics(chunk_metrics: Metrics, i: jax.Array, metrics: Metrics) -> Metrics:
    """The metrics of a chunk with those of its step ``i``."""
    return {tag: chunk_metrics[tag].at[i].set(value) for tag, value in metrics.items()}


def group_rates(
    groups: Groups, hyperparams: Hyperparams, step: jax.Array, state: TrainState | None
) -> list[jax.Array]:
    """The rate of each group, scalars."""
    schedule: Any = hyperparams.schedule
    if state is None or state.plateau is None:
        rates = schedule(step)
    else:
        rates = schedule.reduced(state.plateau)
    rates = rates * hyperparams.wrappers.multiplier
    if state is not None and state.rate_factor is not None:
        rates = rates * state.rate_factor
    if not groups.members:
        return [rates.reshape(())]
    return list(jnp.broadcast_to(rates, len(groups.names)))
