"""The programs of lanes: what a run computes, with a leading axis for the lanes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from runner.data.feed import Feed, Source, SplitName
from runner.objectives import Objective
from runner.training.evaluation import evaluated_variables, score, total_metrics
from runner.training.listener import Metrics
from runner.training.rates import empty_metrics
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import Trained, observe, train_step
from runner.training.tags import metric_tag


@partial(jax.jit, static_argnames="static", donate_argnames="states")
def train_chunk(
    static: Static,
    states: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    active: jax.Array,
    length: jax.Array,
) -> Trained:
    """``scan_chunk`` over lanes; the state of a lane that is not ``active`` stays as it is.

    batches: arrays [capacity, lanes, accumulate * batch, ...].
    active: bool [lanes].

    Returns the states, and metrics by tag [lanes, capacity] of which the first ``length`` are set.
    """

    def step_lane(
        active: jax.Array, state: TrainState, hyperparams: Hyperparams, batch: Any
    ) -> Trained:
        new, metrics = train_step(static, state, hyperparams, source, batch)
        return jax.tree.map(partial(jnp.where, active), new, state), metrics

    def body(i: jax.Array, carry: Trained) -> Trained:
        states, chunk_metrics = carry
        batch = jax.tree.map(lambda array: array[i], batches)
        states, metrics = jax.vmap(step_lane)(active, states, hyperparams, batch)
        return states, {tag: chunk_metrics[tag].at[:, i].set(metrics[tag]) for tag in metrics}

    capacity = jax.tree.leaves(batches)[0].shape[0]
    empty = jax.vmap(lambda lane: empty_metrics(static, lane, capacity))(hyperparams)
    return jax.lax.fori_loop(0, length, body, (states, empty))


def evaluate(
    static: Static, states: TrainState, hyperparams: Hyperparams, feed: Feed, split: SplitName
) -> dict[str, jax.Array]:
    """The metrics of a split by tag, [lanes, ...]."""
    objective, source = hyperparams.objective, feed.source(split)
    sums = [_sums(static, states, objective, source, *batch) for batch in feed.split_batches(split)]
    return {metric_tag(split, name): value for name, value in _finished(objective, sums).items()}


@partial(jax.jit, static_argnames="highest")
def observe_metric(
    states: TrainState,
    hyperparams: Hyperparams,
    values: jax.Array,
    mask: jax.Array,
    *,
    highest: bool,
) -> TrainState:
    """The states after an evaluation, which only lanes where ``mask`` [lanes] observe."""

    def observe_lane(
        state: TrainState, hyperparams: Hyperparams, value: jax.Array, is_due: jax.Array
    ) -> TrainState:
        new = observe(state, hyperparams, value, highest=highest)
        return jax.tree.map(partial(jnp.where, is_due), new, state)

    return jax.vmap(observe_lane)(states, hyperparams, values, mask)


def stack(trees: Sequence[Any], device: jax.Device) -> Any:
    """Trees of arrays as one with a leading axis, on ``device``."""
    stacked = jax.tree.map(lambda *leaves: _stack(leaves), *trees)
    # Committed to the device like the output of a chunk, or the second chunk would recompile.
    return jax.device_put(stacked, device)


_stack = jax.jit(lambda leaves: jnp.stack(leaves))

# A copy, because the next chunk donates the buffers of all lanes.
lane_of = jax.jit(lambda tree, index: jax.tree.map(lambda array: array[index], tree))


@partial(jax.jit, static_argnames="static")
def _sums(
    static: Static,
    states: TrainState,
    objectives: Objective,
    source: Source,
    batch: Any,
    valid: jax.Array,
) -> Metrics:
    """The objective's sums over a batch of examples, [lanes, ...]."""
    examples = source.prepared(batch)

    def score_lane(state: TrainState, objective: Objective) -> Metrics:
        return score(static, evaluated_variables(static, state), objective, examples, valid)

    return jax.vmap(score_lane)(states, objectives)


# The metrics of each lane from the sums of its batches.
_finished = jax.jit(jax.vmap(total_metrics))
