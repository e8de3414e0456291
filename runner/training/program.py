"""The compiled programs of a run, shared by every job that differs from it in numbers only.

What is compiled depends on structure alone: model, optimizer family, shapes, dispatch. All numbers
are arguments, so a second job in the same process finds its programs here ready to run.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, subjaxprs

from runner.data.feed import Source
from runner.optimizers import Groups
from runner.training.state import Hyper, TrainState
from runner.training.static import Structure
from runner.training.step import (
    Gradients,
    add_gradients,
    apply_gradients,
    init_state,
    metric_shapes,
    no_gradients,
    part,
    score,
    train_step,
)
from runner.training.tags import EVAL_ACCURACY, EVAL_LOSS

Dispatch = Literal["scan", "step"]

Metrics = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Program:
    """init(seed, hyper, inputs) → TrainState
    train_chunk(state, hyper, source, rows, count) → (TrainState, metrics: tag → [capacity]);
      the first ``count`` of the rows [capacity, ...] are trained on. The state is donated.
    evaluate(state, source, rows) → tag → scalar, over all (row, valid) of ``rows``.
    """

    init: Callable[..., TrainState]
    train_chunk: Callable[..., tuple[TrainState, Metrics]]
    evaluate: Callable[..., Metrics]


@lru_cache(maxsize=64)
def compile_program(structure: Structure, dispatch: Dispatch) -> Program:
    """The program of this structure; compiled at first use, the same object for every later job."""
    init = jax.jit(
        lambda seed, hyper, inputs: init_state(structure, hyper, seed=seed, inputs=inputs)
    )
    empty = partial(_empty_metrics, structure.groups)
    if dispatch == "step" and structure.accumulate > 1:
        train_chunk = _batch_by_batch(structure, empty)
    else:
        chunk = _in_one_loop if dispatch == "scan" else _row_by_row
        train_chunk = chunk(partial(_train_row, structure), empty)
    return Program(init, train_chunk, _evaluation(structure))


def may_loop(forward: Jaxpr, platform: str) -> bool:
    """Whether a model may sit in a while loop: with a convolution, not on the CPU backend.

    There XLA runs a convolution inside a while loop some twenty times slower than outside.
    """
    return platform != "cpu" or "conv_general_dilated" not in _primitives(forward)


def _primitives(jaxpr: Jaxpr) -> set[str]:
    inner = (_primitives(nested) for nested in subjaxprs(jaxpr))
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*inner)


def _train_row(
    structure: Structure,
    i: jax.Array,
    carry: tuple[TrainState, Metrics],
    hyper: Hyper,
    source: Source,
    rows: Any,
) -> tuple[TrainState, Metrics]:
    """Trains on the chunk's i-th row and notes its metrics in place i: any dispatch's body."""
    state, noted = carry
    examples = source.examples(jax.tree.map(lambda array: array[i], rows))
    state, metrics = train_step(structure, state, hyper, examples)
    return state, _with_row(noted, i, metrics)


def _with_row(noted: Metrics, i: jax.Array, metrics: Metrics) -> Metrics:
    return {tag: noted[tag].at[i].set(value) for tag, value in metrics.items()}


def _empty_metrics(groups: Groups, hyper: Hyper, rows: Any) -> Metrics:
    capacity = jax.tree.leaves(rows)[0].shape[0]
    return {
        tag: jnp.zeros((capacity, *leaf.shape), leaf.dtype)
        for tag, leaf in metric_shapes(groups, hyper).items()
    }


def _in_one_loop(
    row: Callable[..., Any], empty_metrics: Callable[..., Metrics]
) -> Callable[..., Any]:
    """A chunk as one dispatch; ``count`` is an argument, so chunks of any length share it."""

    @partial(jax.jit, donate_argnames="state")
    def train_chunk(state: TrainState, hyper: Hyper, source: Source, rows: Any, count: jax.Array):
        def body(i: jax.Array, carry: Any) -> Any:
            return row(i, carry, hyper, source, rows)

        return jax.lax.fori_loop(0, count, body, (state, empty_metrics(hyper, rows)))

    return train_chunk


def _row_by_row(
    row: Callable[..., Any], empty_metrics: Callable[..., Metrics]
) -> Callable[..., Any]:
    """A chunk as one dispatch a step, each sent before the last one's values are there."""
    train_row = jax.jit(row, donate_argnums=1)
    empty_metrics = jax.jit(empty_metrics)

    def train_chunk(state: TrainState, hyper: Hyper, source: Source, rows: Any, count: np.int32):
        carry = state, empty_metrics(hyper, rows)
        for i in range(count):
            carry = train_row(np.int32(i), carry, hyper, source, rows)
        return carry

    return train_chunk


def _batch_by_batch(
    structure: Structure, empty_metrics: Callable[..., Metrics]
) -> Callable[..., Any]:
    """A chunk of updates that accumulate, a dispatch for each of their batches and one more.

    Laid out in one program, hundreds of batches would take minutes to compile.
    """

    def add_batch(
        state: TrainState, sums: Gradients, source: Source, rows: Any, i: Any, number: Any
    ) -> Gradients:
        row = jax.tree.map(lambda array: part(structure, array[i])[number], rows)
        return add_gradients(structure, state, sums, number, source.examples(row))

    def finish(
        i: Any, carry: tuple[TrainState, Metrics], hyper: Hyper, sums: Gradients
    ) -> tuple[TrainState, Metrics]:
        state, noted = carry
        state, metrics = apply_gradients(structure, state, hyper, sums)
        return state, _with_row(noted, i, metrics)

    begin = jax.jit(partial(no_gradients, structure))
    add_batch = jax.jit(add_batch, donate_argnums=1)
    finish = jax.jit(finish, donate_argnums=1)
    empty_metrics = jax.jit(empty_metrics)

    def train_chunk(state: TrainState, hyper: Hyper, source: Source, rows: Any, count: np.int32):
        carry = state, empty_metrics(hyper, rows)
        for i in range(count):
            sums = begin(carry[0])
            for number in range(structure.accumulate):
                sums = add_batch(carry[0], sums, source, rows, np.int32(i), np.int32(number))
            carry = finish(np.int32(i), carry, hyper, sums)
        return carry

    return train_chunk


def _evaluation(structure: Structure) -> Callable[..., Metrics]:
    """Exact means over a split of any length: sums per batch, added up in order."""

    @jax.jit
    def batch_sums(state: TrainState, source: Source, row: Any, valid: jax.Array) -> Metrics:
        sums = score(structure, state, source.examples(row), valid)
        return {**sums, "examples": valid.sum()}

    @jax.jit
    def means(batches: list[Metrics]) -> Metrics:
        total = jax.tree.map(lambda *sums: sum(sums), *batches)
        return {
            EVAL_LOSS: total["loss"] / total["examples"],
            EVAL_ACCURACY: total["correct"] / total["examples"],
        }

    def evaluate(
        state: TrainState, source: Source, rows: Iterable[tuple[Any, jax.Array]]
    ) -> Metrics:
        return means([batch_sums(state, source, row, valid) for row, valid in rows])

    return evaluate
