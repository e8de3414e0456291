"""The compiled functions of training.

What is compiled depends on ``Static`` and on shapes alone. Every hyperparameter is an argument, so
experiments that share a ``Static`` share their programs.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, subjaxprs

from runner.data.feed import Source
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import (
    Gradients,
    add_microbatch,
    apply_gradients,
    init_state,
    metric_shapes,
    split_microbatches,
    train_step,
    zero_gradients,
)

Metrics = Mapping[str, jax.Array]
Trained = tuple[TrainState, Metrics]

# (static, hyperparams, *, seed, inputs) → TrainState. It runs only once: at this lower level of
# optimization it compiles in a quarter of the time, with the same results.
compiled_init = jax.jit(
    init_state,
    static_argnames="static",
    compiler_options={"xla_backend_optimization_level": 1},
)


@partial(jax.jit, static_argnames="static", donate_argnames="state")
def scan_chunk(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    length: jax.Array,
) -> Trained:
    """Trains on the first ``length`` of ``batches`` in one dispatch; donates ``state``.

    batches: what ``source`` reads examples from, arrays [capacity, accumulate * batch, ...].
    length: int32 scalar, an argument so that chunks of any length share one program.

    Returns the state, and metrics by tag [capacity] of which the first ``length`` are set.
    """

    def body(i: jax.Array, carry: Trained) -> Trained:
        state, chunk_metrics = carry
        examples = source.examples(jax.tree.map(lambda array: array[i], batches))
        state, metrics = train_step(static, state, hyperparams, examples)
        return state, _set_metrics(chunk_metrics, i, metrics)

    return jax.lax.fori_loop(0, length, body, (state, _empty_metrics(static, hyperparams, batches)))


def step_chunk(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    length: np.int32,
) -> Trained:
    """``scan_chunk`` with a dispatch per step, sent before the previous one has finished."""
    step = _step if static.accumulate == 1 else _step_by_microbatch
    trained = state, _compiled_empty_metrics(static, hyperparams, batches)
    for i in range(length):
        trained = step(static, trained, hyperparams, source, batches, np.int32(i))
    return trained


def may_loop(forward: Jaxpr, platform: str) -> bool:
    """Whether a model may run in a while loop: not if it has a convolution, on the CPU backend.

    There XLA runs a convolution about twenty times slower inside a while loop than outside.
    """
    return platform != "cpu" or "conv_general_dilated" not in _primitives(forward)


@partial(jax.jit, static_argnames="static", donate_argnames="trained")
def _step(
    static: Static,
    trained: Trained,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    i: jax.Array,
) -> Trained:
    state, chunk_metrics = trained
    examples = source.examples(jax.tree.map(lambda array: array[i], batches))
    state, metrics = train_step(static, state, hyperparams, examples)
    return state, _set_metrics(chunk_metrics, i, metrics)


def _step_by_microbatch(
    static: Static,
    trained: Trained,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    i: np.int32,
) -> Trained:
    """One update in a dispatch for each microbatch and one more.

    Unrolled into one program, hundreds of microbatches would take minutes to compile.
    """
    state, _ = trained
    sums = _compiled_zero_gradients(static, state)
    for microbatch in range(static.accumulate):
        sums = _add_microbatch(static, sums, state, source, batches, i, np.int32(microbatch))
    return _apply_gradients(static, trained, hyperparams, sums, i)


@partial(jax.jit, static_argnames="static", donate_argnames="sums")
def _add_microbatch(
    static: Static,
    sums: Gradients,
    state: TrainState,
    source: Source,
    batches: Any,
    i: jax.Array,
    microbatch: jax.Array,
) -> Gradients:
    batch = jax.tree.map(lambda array: split_microbatches(static, array[i])[microbatch], batches)
    return add_microbatch(static, state, sums, microbatch, source.examples(batch))


@partial(jax.jit, static_argnames="static", donate_argnames="trained")
def _apply_gradients(
    static: Static, trained: Trained, hyperparams: Hyperparams, sums: Gradients, i: jax.Array
) -> Trained:
    state, chunk_metrics = trained
    state, metrics = apply_gradients(static, state, hyperparams, sums)
    return state, _set_metrics(chunk_metrics, i, metrics)


def _empty_metrics(static: Static, hyperparams: Hyperparams, batches: Any) -> Metrics:
    capacity = jax.tree.leaves(batches)[0].shape[0]
    return {
        tag: jnp.zeros((capacity, *leaf.shape), leaf.dtype)
        for tag, leaf in metric_shapes(static.groups, hyperparams).items()
    }


_compiled_empty_metrics = jax.jit(_empty_metrics, static_argnames="static")
_compiled_zero_gradients = jax.jit(zero_gradients, static_argnames="static")


def _set_metrics(chunk_metrics: Metrics, i: jax.Array, metrics: Metrics) -> Metrics:
    return {tag: chunk_metrics[tag].at[i].set(value) for tag, value in metrics.items()}


def _primitives(jaxpr: Jaxpr) -> set[str]:
    nested = (_primitives(inner) for inner in subjaxprs(jaxpr))
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*nested)
