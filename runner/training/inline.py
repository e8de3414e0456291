"""Evaluations within the compiled program of a chunk.

If every chunk ended at an evaluation, the device would wait for the host between frequent ones.
Whether a run evaluates inline is decided once, so that where chunks begin and end never changes a
metric. The evaluation at the end of the run is never inline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from runner.config import Ranking
from runner.data.feed import Feed, Source
from runner.errors import INT32_MAX
from runner.pytree import Pytree
from runner.training.evaluation import Batch, evaluated_variables, score
from runner.training.plan import Plan
from runner.training.rates import Metrics, set_metrics
from runner.training.state import Hyperparams, Static, TrainState, tree_bytes
from runner.training.tags import metric_tag

# The largest state that is evaluated within chunks.
_STATE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Validation(Pytree, static=("ranking",)):
    """The inputs of the evaluations within a chunk.

    source, batch: the examples of the validation split, in one batch.
    after: how many steps of the chunk precede each evaluation, int32 [capacity], in increasing
      order; INT32_MAX in unused entries.
    ranking: the metric that ranks evaluations.
    """

    source: Source
    batch: Batch
    after: np.ndarray
    ranking: Ranking


class Evaluated(NamedTuple):
    """The evaluations so far; see ``listener.Evaluations``."""

    metrics: Metrics
    best: jax.Array
    best_value: jax.Array
    best_state: TrainState


def evaluates_inline(state: TrainState, feed: Feed, plan: Plan, *, capacity: int) -> bool:
    """Whether a run evaluates within its chunks, of up to ``capacity`` steps.

    That requires one dispatch per chunk, an ``eval_every`` of at most half a chunk, data on the
    device, a validation split of one batch, and neither early stopping nor ``reduce_on_plateau``,
    whose counts each evaluation changes. Each chunk copies the state, which must be small.
    """
    is_observed = state.plateau is not None or state.stopping is not None
    if plan.dispatch == "step" or plan.eval_every is None or is_observed:
        return False
    if feed.placement != "device" or len(list(feed.split_batches("validation"))) > 1:
        return False
    return 2 * plan.eval_every <= capacity and tree_bytes(state) <= _STATE_BYTES


def validation_of(
    feed: Feed, ranking: Ranking, after: Sequence[int], *, capacity: int
) -> Validation:
    """The inputs of a chunk's evaluations; ``after`` lists how many of its steps precede each."""
    # Of a fixed length, so that chunks with any number of evaluations share a program.
    padded = np.full(capacity, INT32_MAX, np.int32)
    padded[: len(after)] = after
    (batch,) = feed.split_batches("validation")
    return Validation(feed.source("validation"), batch, padded, ranking)


def not_evaluated(
    static: Static, state: TrainState, hyperparams: Hyperparams, validation: Validation
) -> Evaluated:
    """The initial value, without evaluations, of a chunk that starts with ``state``."""
    found = jax.eval_shape(partial(_evaluate, static), state, hyperparams, validation)
    metrics = {tag: jnp.zeros(len(validation.after), scalar.dtype) for tag, scalar in found.items()}
    return Evaluated(metrics, jnp.int32(0), jnp.float32(0), state)


def evaluated_after(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    validation: Validation,
    evaluated: Evaluated,
    *,
    end: jax.Array,
    loss: jax.Array,
) -> Evaluated:
    """``evaluated`` with one more evaluation, after ``end`` steps of the chunk.

    loss: of the last of these steps; the evaluation cannot be the best if it is not finite.
    """
    found, ranking = _evaluate(static, state, hyperparams, validation), validation.ranking
    value = ranking.sign * jnp.float32(found.get(ranking.metric, jnp.nan))
    is_better = (evaluated.best == 0) | (value > evaluated.best_value)
    best = jax.lax.cond(
        is_better & jnp.isfinite(loss) & ~jnp.isnan(value),
        lambda: (end, value, state),
        lambda: (evaluated.best, evaluated.best_value, evaluated.best_state),
    )
    return Evaluated(set_metrics(evaluated.metrics, end - 1, found), *best)


def _evaluate(
    static: Static, state: TrainState, hyperparams: Hyperparams, validation: Validation
) -> Metrics:
    """The scalars among the metrics of the validation split, by tag."""
    batch, valid = validation.batch
    variables, examples = evaluated_variables(static, state), validation.source.prepared(batch)
    sums = score(static, variables, hyperparams.objective, examples, valid)
    found: dict[str, Any] = dict(hyperparams.objective.metrics(sums))
    scalars = {name: jnp.asarray(value) for name, value in found.items() if not jnp.ndim(value)}
    return {metric_tag("validation", name): value for name, value in scalars.items()}
