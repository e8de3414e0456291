"""The training loop: chunks of steps on the device, and what the host does between them.

What is compiled depends on ``Static`` and on shapes alone. Every hyperparameter is an argument, so
experiments that share a ``Static`` share their programs.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from runner.data.feed import HOST_CHUNK_BYTES, Feed, Source, SplitName
from runner.objectives import Objective
from runner.training.evaluation import evaluate, evaluated_variables
from runner.training.listener import Listener
from runner.training.plan import Plan
from runner.training.rates import empty_metrics, set_metrics
from runner.training.rounds import evaluates_in_rounds, train_rounds
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import (
    Gradients,
    Trained,
    add_microbatch,
    apply_gradients,
    observe,
    split_microbatches,
    train_step,
    train_steps,
    zero_gradients,
)
from runner.training.tags import metric_tag

LONGEST_CHUNK = 1024  # in steps


def train(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    feed: Feed,
    *,
    plan: Plan,
    listener: Listener,
    stopping: Callable[[], bool],
) -> Iterator[TrainState]:
    """Trains from ``state`` to the end of the plan, or until ``stopping`` is true before a chunk.

    Early stopping ends training after an evaluation, which is then the last one. Yields the state
    after each chunk, once the listener was called; a state is valid until the next one is
    requested, which donates its buffers.

    Where chunks begin and end never changes a result. The next chunk is sent to the device before
    the metrics of the previous one are fetched. Frequent evaluations run within the chunks, see
    ``rounds``.

    Raises:
      DivergedError: the listener received a loss that is not finite. The last state was yielded.
    """
    capacity = chunk_capacity(feed)
    in_rounds = evaluates_in_rounds(state, feed, plan, capacity=capacity)
    train_chunk = train_rounds if in_rounds else _train_chunk
    step = int(state.step)
    over = is_over(state, step, plan.steps)
    while not over and not stopping():
        run = static, state, hyperparams, feed, plan, listener
        state, step, evaluated = train_chunk(*run, step=step, capacity=capacity)
        if evaluates := plan.evaluates_at(step) and not evaluated:
            found = _metrics(static, state, hyperparams, feed, "validation")
            if state.plateau is not None or state.stopping is not None:
                value, highest = found[plan.ranking.metric], plan.ranking.highest
                state = _observe(state, hyperparams, value, highest=highest)
            over = is_over(state, step, plan.steps)  # only an evaluation can end it
            if over and plan.scores_test:
                found |= _metrics(static, state, hyperparams, feed, "test")
            listener.evaluation(step, found)
        if listener.wants_state(step, evaluated=evaluates):
            listener.state(step, copy_state(state))
        yield state
        listener.raise_failure()


def _train_chunk(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    feed: Feed,
    plan: Plan,
    listener: Listener,
    *,
    step: int,
    capacity: int,
) -> tuple[TrainState, int, bool]:
    """Trains up to the next evaluation; returns the state, its step, and that it is yet to come."""
    speed = listener.steps_per_second
    length = plan.chunk_length(step, capacity=capacity, steps_per_second=speed)
    run = static, state, hyperparams, feed.source("train")
    if plan.dispatch == "scan":
        batches = feed.batches(step, length, capacity=capacity)
        state, metrics = scan_chunk(*run, batches, np.int32(length))
    else:
        state, metrics = step_chunk(*run, feed.single_batches(step, length), capacity)
    listener.chunk(step, length, metrics)
    return state, step + length, False


def _metrics(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    feed: Feed,
    split: SplitName,
) -> dict[str, jax.Array]:
    """The metrics of a split by tag."""
    variables, objective = evaluated_variables(static, state), hyperparams.objective
    source, batches = feed.source(split), feed.split_batches(split)
    metrics = evaluate(static, variables, objective, source, batches)
    return {metric_tag(split, name): value for name, value in metrics.items()}


def is_over(state: TrainState, step: int, steps: int) -> bool:
    """Whether training ends at ``step``; waits for the device if it may be stopped early."""
    return step >= steps or (state.stopping is not None and bool(state.stopping.reached))


def chunk_capacity(*feeds: Feed) -> int:
    """Batches a program is compiled for; depends on shapes alone, so that all chunks share it."""
    step_bytes = sum(feed.batch_bytes() for feed in feeds)
    return max(1, min(LONGEST_CHUNK, HOST_CHUNK_BYTES // step_bytes))


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
    capacity = jax.tree.leaves(batches)[0].shape[0]
    trained = state, empty_metrics(static, hyperparams, capacity)
    return train_steps(static, trained, hyperparams, source, batches, jnp.int32(0), length)


# Compiled, so that the call does not wait for the device.
_observe = jax.jit(observe, static_argnames="highest")

# A copy on the device, because the next chunk donates the buffers of the state.
copy_state = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


def step_chunk(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Iterable[Any],
    capacity: int,
) -> Trained:
    """``scan_chunk`` with a dispatch per step, sent before the previous one has finished.

    batches: of each step, arrays [accumulate * batch, ...].
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
    """One update in a dispatch for each microbatch and one more.

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
