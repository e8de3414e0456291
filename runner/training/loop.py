"""The training loop: chunks of steps on the device, and what the host does between them.

What is compiled depends on ``Static`` and on shapes alone. Every hyperparameter is an argument, so
experiments that share a ``Static`` share their programs.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from runner.data.feed import HOST_CHUNK_BYTES, Feed, Source, SplitName
from runner.training.evaluation import evaluate, evaluated_variables
from runner.training.inline import (
    Evaluated,
    Validation,
    evaluated_after,
    evaluates_inline,
    not_evaluated,
    validation_of,
)
from runner.training.listener import Evaluations, Listener
from runner.training.plan import Plan
from runner.training.rates import Metrics, empty_metrics, set_metrics
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.step import Trained, observe, train_step
from runner.training.stepwise import step_chunk
from runner.training.tags import LOSS, metric_tag

LONGEST_CHUNK = 1024  # in steps


def train(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    feed: Feed,
    *,
    plan: Plan,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> Iterator[TrainState]:
    """Trains from ``state`` to the end of the plan, or until ``should_stop()`` before a chunk.

    Early stopping ends training after an evaluation, which is then the last one. Yields the state
    after each chunk, once the listener has been called; a state is valid until the next one is
    requested, which donates its buffers.

    Where chunks begin and end never changes a result. The next chunk is sent to the device before
    the metrics of the previous one are fetched. Frequent evaluations are part of the chunks.

    Raises:
      DivergedError: the listener received a loss that is not finite; the state is yielded first.
    """
    capacity = chunk_capacity(feed)
    inline = evaluates_inline(state, feed, plan, capacity=capacity)
    step = int(state.step)
    over = is_over(state, step, plan.steps)
    while not over and not should_stop():
        speed = listener.steps_per_second
        length = plan.chunk_length(
            step, capacity=capacity, steps_per_second=speed, evaluates_inline=inline
        )
        run = static, state, hyperparams, feed, plan, listener
        state = _train_chunk(*run, start=step, length=length, capacity=capacity, inline=inline)
        step += length
        if evaluates := plan.evaluates_at(step) and not (inline and step < plan.steps):
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
    start: int,
    length: int,
    capacity: int,
    inline: bool,
) -> TrainState:
    """The state after a chunk, whose metrics the listener receives; donates ``state``."""
    run = static, state, hyperparams, feed.source("train")
    if plan.dispatch == "step":
        state, metrics = step_chunk(*run, feed.single_batches(start, length), capacity)
        listener.chunk(start, length, metrics)
        return state
    batches, after = feed.batches(start, length, capacity=capacity), plan.evaluations(start, length)
    validation = validation_of(feed, plan.ranking, after, capacity=capacity) if inline else None
    state, metrics, evaluated = scan_chunk(*run, batches, np.int32(length), validation)
    if evaluated is None:
        listener.chunk(start, length, metrics)
    else:
        evaluations = Evaluations(after, evaluated.metrics, evaluated.best, evaluated.best_state)
        listener.evaluated_chunk(start, length, metrics, evaluations)
    return state


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
    """Whether training ends at ``step``; waits for the device if there is early stopping."""
    return step >= steps or (state.stopping is not None and bool(state.stopping.reached))


def chunk_capacity(*feeds: Feed) -> int:
    """The most steps in a chunk; depends on shapes alone, so that all chunks share one program."""
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
    validation: Validation | None = None,
) -> tuple[TrainState, Metrics, Evaluated | None]:
    """Trains on the first ``length`` of ``batches`` in one dispatch; donates ``state``.

    batches: what ``source`` reads examples from: their indices, or the examples themselves, arrays
      [capacity, accumulate * batch, ...].
    length: int32 scalar, an argument so that chunks of any length share one program.
    validation: evaluates between steps; None for a program without evaluations.

    Returns the state, metrics by tag [capacity] of which the first ``length`` are set, and the
    evaluations.
    """

    def one_step(i: jax.Array, trained: Trained) -> Trained:
        state, chunk_metrics = trained
        batch = jax.tree.map(lambda array: array[i], batches)
        state, metrics = train_step(static, state, hyperparams, source, batch)
        return state, set_metrics(chunk_metrics, i, metrics)

    trained = state, empty_metrics(static, hyperparams, jax.tree.leaves(batches)[0].shape[0])
    if validation is None:
        return *jax.lax.fori_loop(0, length, one_step, trained), None

    after = validation.after
    bounds = jnp.pad(jnp.minimum(after, length), (1, 0))

    def one_part(part: jax.Array, carry: tuple[Trained, Evaluated]) -> tuple[Trained, Evaluated]:
        end, (trained, evaluated) = bounds[part + 1], carry
        state, metrics = jax.lax.fori_loop(bounds[part], end, one_step, trained)
        evaluate = partial(evaluated_after, static, state, hyperparams, validation, evaluated)
        evaluated = jax.lax.cond(
            after[part] <= length,
            lambda: evaluate(end=end, loss=metrics[LOSS][end - 1]),
            lambda: evaluated,
        )
        return (state, metrics), evaluated

    start = trained, not_evaluated(static, state, hyperparams, validation)
    parts = jnp.sum(bounds < length)
    (state, metrics), evaluated = jax.lax.fori_loop(0, parts, one_part, start)
    return state, metrics, evaluated


# Compiled, so that the call does not wait for the device.
_observe = jax.jit(observe, static_argnames="highest")

# A copy on the device, because the next chunk donates the buffers of the state.
copy_state = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
