"""A chunk in several dispatches, for models that a compiled loop would slow down.

Each step is one dispatch; if it accumulates, one for each microbatch and one for the update.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from runner.data.feed import Source
from runner.objectives import Objective
from runner.training.rates import empty_metrics, set_metrics
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import (
    Gradients,
    Trained,
    add_microbatch,
    apply_gradients,
    split_microbatches,
    train_step,
    zero_gradients,
)


def step_chunk(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Iterable[Any],
    capacity: int,
) -> Trained:
    """``scan_chunk`` in several dispatches, each sent before the previous one has finished.

    batches: one for each step, arrays [accumulate * batch, ...].
    """
    step = _step if static.accumulate == 1 else _step_by_microbatch
    trained = state, _compiled_empty_metrics(static, hyperparams, capacity)
    for i, batch in enumerate(batches):
        trained = step(static, trained, hyperparams, source, batch, np.int32(i))
    return trained


@partial(jax.jit, static_argnames="static", donate_argnames="trained")
def _step(
    static: Static,
    trained: Trained,
    hyperparams: Hyperparams,
    source: Source,
    batch: Any,
    i: jax.Array,
) -> Trained:
    state, chunk_metrics = trained
    state, metrics = train_step(static, state, hyperparams, source, batch)
    return state, set_metrics(chunk_metrics, i, metrics)


def _step_by_microbatch(
    static: Static,
    trained: Trained,
    hyperparams: Hyperparams,
    source: Source,
    batch: Any,
    i: np.int32,
) -> Trained:
    """One step in a dispatch for each microbatch and one that applies the gradients.

    Unrolled into one program, hundreds of microbatches would take minutes to compile.
    """
    state, _ = trained
    sums = _compiled_zero_gradients(static, state)
    objective = hyperparams.objective
    for microbatch in range(static.accumulate):
        sums = _add_microbatch(static, sums, state, objective, source, batch, np.int32(microbatch))
    return _apply_gradients(static, trained, hyperparams, sums, i)


@partial(jax.jit, static_argnames="static", donate_argnames="sums")
def _add_microbatch(
    static: Static,
    sums: Gradients,
    state: TrainState,
    objective: Objective,
    source: Source,
    batch: Any,
    microbatch: jax.Array,
) -> Gradients:
    batch = jax.tree.map(lambda array: split_microbatches(static, array)[microbatch], batch)
    return add_microbatch(static, state, objective, sums, source, batch, microbatch)


@partial(jax.jit, static_argnames="static", donate_argnames="trained")
def _apply_gradients(
    static: Static, trained: Trained, hyperparams: Hyperparams, sums: Gradients, i: jax.Array
) -> Trained:
    state, chunk_metrics = trained
    state, metrics = apply_gradients(static, state, hyperparams, sums)
    return state, set_metrics(chunk_metrics, i, metrics)


_compiled_empty_metrics = jax.jit(empty_metrics, static_argnames=("static", "capacity"))
_compiled_zero_gradients = jax.jit(zero_gradients, static_argnames="static")
