"""The metrics of an objective over a split, exact for any number of examples."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp

from runner.data.feed import Source
from runner.data.preparation import Examples
from runner.objectives import Objective
from runner.optimizers import eval_params
from runner.training.state import Static, TrainState
from runner.training.step import Metrics, in_compute_dtype

# ``params`` and the collections of a model state.
Variables = Mapping[str, Any]
Batch = tuple[Any, jax.Array]


def evaluate(
    static: Static,
    variables: Variables,
    objective: Objective,
    source: Source,
    batches: Iterable[Batch],
) -> Metrics:
    """The objective's metrics over all examples: sums per batch, added up in order.

    variables: those of ``evaluated_variables``, or of a saved run. They are an argument of the
      compiled program, so that both give the same metrics to the bit.
    batches: pairs of what ``source`` reads examples from and a mask [batch], False for padding.
    """
    batches = iter(batches)
    first, second = next(batches), next(batches, None)
    if second is None:  # in one dispatch, as evaluations of a small split are frequent
        return _batch_metrics(static, variables, objective, source, *first)
    batches = chain([first, second], batches)
    sums = [_batch_sums(static, variables, objective, source, *batch) for batch in batches]
    return total_metrics(objective, sums)


def score(
    static: Static, variables: Variables, objective: Objective, examples: Examples, valid: jax.Array
) -> Metrics:
    """The objective's sums over those prepared examples where ``valid`` [batch]."""
    outputs = compute_outputs(static, variables, examples.inputs)
    return objective.sums(outputs, examples.targets, valid)


def compute_outputs(static: Static, variables: Variables, inputs: jax.Array) -> jax.Array:
    """What the model returns for prepared inputs [batch, ...], float32 [batch, ...]."""
    params = in_compute_dtype(static, variables["params"])
    outputs, _ = static.model.apply(
        {**variables, "params": params},
        in_compute_dtype(static, inputs),
        train=False,
        mutable=[],
    )
    return outputs.astype(jnp.float32)


def evaluated_variables(static: Static, state: TrainState) -> dict[str, Any]:
    """The variables of the model that evaluations use."""
    averaged = state.averaged_model_state
    model_state = state.model_state if averaged is None else averaged
    return {"params": evaluated_params(static, state), **model_state}


def evaluated_params(static: Static, state: TrainState) -> Any:
    """The parameters that evaluations use.

    They are the moving average if one is kept, else lookahead's slow parameters if there are any,
    else those that the optimizer declares, which are the trained ones for most.
    """
    trained = static.groups.trained(state.params)
    evaluated = next((tree for tree in (state.average, state.slow) if tree is not None), None)
    if evaluated is None:
        evaluated = eval_params(static.optimizer, static.groups, state.opt_state, trained)
    return static.groups.merged(evaluated, state.params)


@partial(jax.jit, static_argnames="static")
def _batch_sums(
    static: Static,
    variables: Variables,
    objective: Objective,
    source: Source,
    batch: Any,
    valid: jax.Array,
) -> Metrics:
    return score(static, variables, objective, source.prepared(batch), valid)


@partial(jax.jit, static_argnames="static")
def _batch_metrics(
    static: Static,
    variables: Variables,
    objective: Objective,
    source: Source,
    batch: Any,
    valid: jax.Array,
) -> Metrics:
    return objective.metrics(score(static, variables, objective, source.prepared(batch), valid))


@jax.jit
def total_metrics(objective: Objective, batches: list[Metrics]) -> Metrics:
    """The metrics of a split from the sums of its batches."""
    return objective.metrics(jax.tree.map(lambda *sums: sum(sums), *batches))
