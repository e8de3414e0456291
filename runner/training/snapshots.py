"""Snapshots at cycle ends: their ensemble, and the average of their weights."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from runner.data.feed import Feed, Source, SplitName
from runner.objectives import Objective
from runner.training.checkpoint import Arrays, is_finite, named_leaves
from runner.training.evaluation import (
    Variables,
    compute_outputs,
    evaluated_variables,
    total_metrics,
)
from runner.training.state import Static, TrainState
from runner.training.step import Metrics, in_compute_dtype, split_microbatches

# Reads the variables of one snapshot, so that few of them are in memory at a time.
Snapshot = Callable[[], Variables]

# The collection in which flax keeps running statistics.
_STATISTICS = "batch_stats"
# The most bytes of an ensemble's outputs that are kept while its members are evaluated in turn.
_OUTPUT_BYTES = 256 * 2**20


def snapshot_arrays(static: Static, state: TrainState) -> Arrays | None:
    """The variables that evaluations use, by path as in a checkpoint; waits for the device.

    None if a value is not finite.
    """
    arrays = variables_arrays(evaluated_variables(static, state))
    return arrays if is_finite(arrays) else None


def variables_arrays(variables: Variables) -> Arrays:
    """The variables of a model by path as in a checkpoint; waits for the device."""
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    leaves = named_leaves({"params": variables["params"], "model_state": model_state})
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}


def ensemble_metrics(
    static: Static,
    objective: Objective,
    feed: Feed,
    split: SplitName,
    snapshots: Sequence[Snapshot],
) -> list[Metrics]:
    """The metrics over a split of the ensemble of the first k snapshots, for each k from 1.

    The objective declares what an ensemble returns (Huang et al. 2017, section 3, for classes).
    """
    source, batches = feed.source(split), feed.split_batches(split)
    sums: list[list[Metrics]] = [[] for _ in snapshots]
    size = None
    while block := list(islice(batches, size or 1)):
        outputs: list[Any] = [None] * len(block)
        for count, snapshot in enumerate(snapshots):
            variables = jax.device_put(snapshot())
            for i, batch in enumerate(block):
                outputs[i], found = _add_member(
                    static, variables, objective, source, *batch, outputs[i], np.float32(count)
                )
                sums[count].append(found)
        size = size or max(1, _OUTPUT_BYTES // outputs[0].nbytes)
    return [total_metrics(objective, found) for found in sums]


def averaged_params(snapshots: Sequence[Snapshot]) -> Iterator[Variables]:
    """The variables with the mean of the parameters of the first k snapshots, for each k from 1.

    Stochastic weight averaging (Izmailov et al. 2018, equation 2), computed in float64. The other
    variables are those of the last of these snapshots.
    """
    totals: Any = None
    for count, snapshot in enumerate(snapshots, start=1):
        variables = snapshot()
        params = jax.tree.map(lambda array: np.asarray(array, np.float64), variables["params"])
        totals = params if totals is None else jax.tree.map(np.add, totals, params)
        mean = jax.tree.map(
            lambda total, own, count=count: np.asarray(total / count, own.dtype),
            totals,
            variables["params"],
        )
        yield {**variables, "params": mean}


def recompute_statistics(
    static: Static, variables: Variables, feed: Feed, *, steps: int, key: jax.Array
) -> Variables:
    """``variables`` with batch normalisation statistics over the first ``steps`` updates.

    Means and variances are those over all examples of these batches. As in training, each batch is
    normalised by its own statistics in the layers below, augmented and subject to dropout
    (Izmailov et al. 2018, section 3.2).

    A running statistic is a leaf of ``batch_stats`` that an update replaces by ``momentum * old +
    (1 - momentum) * new``; whatever else a model state has stays as it is.

    Args:
      steps: the number of updates whose batches are used, usually those of an epoch.
      key: the PRNG key of augmentation and dropout.
    """
    if not jax.tree.leaves(variables.get(_STATISTICS, {})):
        return variables
    variables = jax.device_put(variables)
    found = jax.tree.map(jnp.zeros_like, variables[_STATISTICS])
    source, parts = feed.source("train"), static.accumulate
    for step, batch in enumerate(feed.single_batches(0, steps)):
        for part in range(parts):
            indices = np.int32(step * parts + part), np.int32(part)
            found = _add_statistics(static, variables, found, source, batch, key, *indices)
    return {**variables, _STATISTICS: found}


@partial(jax.jit, static_argnames="static")
def _add_member(
    static: Static,
    variables: Variables,
    objective: Objective,
    source: Source,
    batch: Any,
    valid: jax.Array,
    outputs: jax.Array | None,
    count: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """The outputs of an ensemble of ``count`` members with one more added, and their sums."""
    examples = source.prepared(batch)
    member = compute_outputs(static, variables, examples.inputs)
    together = member if outputs is None else objective.ensemble(outputs, member, count)
    return together, objective.sums(together, examples.targets, valid)


@partial(jax.jit, static_argnames="static")
def _add_statistics(
    static: Static,
    variables: Variables,
    statistics: Any,
    source: Source,
    batch: Any,
    key: jax.Array,
    count: jax.Array,
    microbatch: jax.Array,
) -> Any:
    """The statistics of ``count`` microbatches merged with those of ``batch[microbatch]``."""
    batch = jax.tree.map(lambda array: split_microbatches(static, array)[microbatch], batch)
    augmentation, dropout = jax.random.split(jax.random.fold_in(key, count))
    inputs = in_compute_dtype(static, source.prepared(batch, augmentation).inputs)
    params = in_compute_dtype(static, variables["params"])

    def updated(old: Any) -> Any:
        _, changed = static.model.apply(
            {**variables, "params": params, _STATISTICS: old},
            inputs,
            train=True,
            mutable=[name for name in variables if name != "params"],
            rngs={"dropout": dropout},
        )
        return changed[_STATISTICS]

    old = variables[_STATISTICS]
    zeros, ones = (jax.tree.map(like, old) for like in (jnp.zeros_like, jnp.ones_like))
    # An update is linear in the old statistics, so its derivative is the momentum.
    scaled, momenta = jax.jvp(updated, (zeros,), (ones,))
    new = jax.tree.map(_unscaled, scaled, momenta, old)
    return _merged(statistics, new, count.astype(jnp.float32))


def _unscaled(scaled: jax.Array, momentum: jax.Array, old: jax.Array) -> jax.Array:
    """The statistic of a batch, from its part of an update; ``old`` if the momentum is 1."""
    return jnp.where(momentum < 1, scaled / (1 - momentum), old)


def _merged(total: Any, new: Any, count: jax.Array) -> Any:
    """Statistics of ``count`` batches, merged with those of one more batch of the same size.

    A ``var`` beside a ``mean`` is merged as the variance of all examples (Chan et al. 1979).
    """
    if not isinstance(total, dict):
        return total + (new - total) / (count + 1)
    merged = {name: _merged(total[name], new[name], count) for name in total}
    if {"mean", "var"} <= merged.keys():
        between = jnp.square(new["mean"] - total["mean"]) * count / jnp.square(count + 1)
        merged["var"] = merged["var"] + between
    return merged
