"""Several rounds of training and evaluation in one dispatch.

Between frequent evaluations, the device would wait for the host. A run either evaluates in rounds
or in dispatches of their own, whatever its chunks are, so that chunks never change a metric.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from runner.config import Ranking
from runner.data.feed import Feed, Source
from runner.training.evaluation import Batch, evaluated_variables, score
from runner.training.listener import Listener, Rounds
from runner.training.plan import Plan
from runner.training.rates import empty_metrics, set_metrics
from runner.training.state import Hyperparams, Static, TrainState, tree_bytes
from runner.training.step import Metrics, train_steps
from runner.training.tags import LOSS, metric_tag

# The largest state that is trained in rounds.
_STATE_BYTES = 32 * 2**20


class _Carry(NamedTuple):
    """What the rounds of a dispatch hand on; ``step`` counts from the first of them."""

    step: jax.Array
    state: TrainState
    metrics: Metrics
    evaluations: Metrics
    best: jax.Array
    best_value: jax.Array
    best_state: TrainState


def evaluates_in_rounds(state: TrainState, feed: Feed, plan: Plan, *, capacity: int) -> bool:
    """Whether a run evaluates within its chunks, of up to ``capacity`` steps.

    Rounds need data on the device, and evaluations of one batch that do not change the state. Each
    dispatch copies the state, which must be small.
    """
    is_observed = state.plateau is not None or state.stopping is not None
    if plan.dispatch == "step" or plan.eval_every is None or is_observed:
        return False
    if feed.placement != "device" or len(list(feed.split_batches("validation"))) > 1:
        return False
    return 2 * plan.eval_every <= capacity and tree_bytes(state) <= _STATE_BYTES


def train_rounds(
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
    """Trains rounds from ``step`` on in one dispatch; donates ``state``.

    The evaluation at the end of the run is left out, as the test split is scored with it.

    Returns the state, its step, and whether it has been evaluated.
    """
    speed = listener.steps_per_second
    lengths = plan.round_lengths(step, capacity=capacity, steps_per_second=speed)
    ends = (step + np.cumsum(lengths)).tolist()
    evaluated = [plan.evaluates_at(end) and end < plan.steps for end in ends]
    # As many as a chunk has steps, so that the program does not depend on ``eval_every``.
    unused = (0, capacity - len(lengths))
    (validation_batch,) = feed.split_batches("validation")
    state, *outcome = _train_rounds(
        static,
        state,
        hyperparams,
        feed.source("train"),
        feed.batches(step, sum(lengths), capacity=capacity),
        feed.source("validation"),
        validation_batch,
        np.pad(np.array(lengths, np.int32), unused),
        np.pad(np.array(evaluated), unused),
        np.int32(len(lengths)),
        plan.ranking,
    )
    listener.rounds(step, Rounds(lengths, evaluated, *outcome))
    return state, ends[-1], evaluated[-1]


@partial(jax.jit, static_argnames=("static", "ranking"), donate_argnames="state")
def _train_rounds(
    static: Static,
    state: TrainState,
    hyperparams: Hyperparams,
    source: Source,
    batches: Any,
    validation: Source,
    validation_batch: Batch,
    lengths: jax.Array,
    evaluated: jax.Array,
    count: jax.Array,
    ranking: Ranking,
) -> tuple[TrainState, Metrics, Metrics, jax.Array, TrainState]:
    """The first ``count`` rounds of ``lengths`` [rounds], int32, and ``evaluated`` [rounds], bool.

    Returns the state, the metrics of all steps [capacity], the scalars of all evaluations [rounds],
    the number of the best round and the state after it.
    """
    objective = hyperparams.objective

    def evaluate(state: TrainState) -> Metrics:
        batch, valid = validation_batch
        variables, examples = evaluated_variables(static, state), validation.prepared(batch)
        found = objective.metrics(score(static, variables, objective, examples, valid))
        scalars = {name: jnp.asarray(value) for name, value in found.items() if not jnp.ndim(value)}
        return {metric_tag("validation", name): value for name, value in scalars.items()}

    def one_round(number: jax.Array, carry: _Carry) -> _Carry:
        end = carry.step + lengths[number]
        trained = carry.state, carry.metrics
        run = static, trained, hyperparams, source, batches
        state, metrics = train_steps(*run, carry.step, end)
        found = jax.lax.cond(evaluated[number], evaluate, lambda _: nothing, state)
        value = ranking.sign * jnp.float32(found.get(ranking.metric, jnp.nan))
        is_best = evaluated[number] & jnp.isfinite(metrics[LOSS][end - 1]) & ~jnp.isnan(value)
        is_best &= (carry.best < 0) | (value > carry.best_value)
        best, best_value, best_state = jax.lax.cond(
            is_best,
            lambda: (number, value, state),
            lambda: (carry.best, carry.best_value, carry.best_state),
        )
        evaluations = set_metrics(carry.evaluations, number, found)
        return _Carry(end, state, metrics, evaluations, best, best_value, best_state)

    capacity, rounds = jax.tree.leaves(batches)[0].shape[0], len(lengths)
    nothing = _zeros(jax.eval_shape(evaluate, state))
    start = _Carry(
        step=jnp.int32(0),
        state=state,
        metrics=empty_metrics(static, hyperparams, capacity),
        evaluations=_zeros(nothing, rounds),
        best=jnp.int32(-1),
        best_value=jnp.float32(0),
        best_state=state,
    )
    end = jax.lax.fori_loop(0, count, one_round, start)
    return end.state, end.metrics, end.evaluations, end.best, end.best_state


def _zeros(shapes: Any, *leading: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros((*leading, *leaf.shape), leaf.dtype), shapes)
