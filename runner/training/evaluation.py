"""Loss and accuracy over a split, exact for any number of examples."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from runner.data.feed import Source
from runner.optimizers import eval_params
from runner.training.state import Static, TrainState
from runner.training.step import Examples, Metrics, cross_entropy, in_compute_dtype
from runner.training.tags import EVAL_ACCURACY, EVAL_LOSS

# ``params`` and the collections of a model state.
Variables = Mapping[str, Any]
Batch = tuple[Any, jax.Array]


def evaluate(
    static: Static,
    state: TrainState,
    source: Source,
    batches: Iterable[Batch],
) -> Metrics:
    """Means over all examples by tag: sums per batch, added up in order.

    batches: pairs of what ``source`` reads examples from and a mask [batch], False for padding.
    """
    return _means([_batch_sums(static, state, source, *batch) for batch in batches])


def evaluate_variables(
    static: Static, variables: Variables, source: Source, batches: Iterable[Batch]
) -> Metrics:
    """``evaluate`` for the ``variables`` of a model instead of a state."""
    return _means([_variables_sums(static, variables, source, *batch) for batch in batches])


def score(static: Static, state: TrainState, examples: Examples, valid: jax.Array) -> Metrics:
    """Summed loss and number of correct answers over the examples where ``valid`` [batch]."""
    variables = {"params": evaluated_params(static, state), **state.model_state}
    return _score(static, variables, examples, valid)


def compute_logits(static: Static, variables: Variables, inputs: jax.Array) -> jax.Array:
    """Logits [batch, classes], float32, of normalised inputs [batch, ...]."""
    params = in_compute_dtype(static, variables["params"])
    logits, _ = static.model.apply(
        {**variables, "params": params},
        in_compute_dtype(static, inputs),
        train=False,
        mutable=[],
    )
    return logits.astype(jnp.float32)


def evaluated_params(static: Static, state: TrainState) -> Any:
    """The parameters that evaluations use.

    They are the moving average if one is kept, else lookahead's slow parameters if there are any,
    else those that the optimizer declares, which are the trained ones for most.
    """
    trained = static.groups.trained(state.params)
    own = eval_params(static.optimizer, static.groups, state.opt_state, trained)
    evaluated = next(tree for tree in (state.average, state.slow, own) if tree is not None)
    return static.groups.merged(evaluated, state.params)


@partial(jax.jit, static_argnames="static")
def _batch_sums(
    static: Static, state: TrainState, source: Source, batch: Any, valid: jax.Array
) -> Metrics:
    sums = score(static, state, source.examples(batch), valid)
    return {**sums, "examples": valid.sum()}


@partial(jax.jit, static_argnames="static")
def _variables_sums(
    static: Static, variables: Variables, source: Source, batch: Any, valid: jax.Array
) -> Metrics:
    sums = _score(static, variables, source.examples(batch), valid)
    return {**sums, "examples": valid.sum()}


def _score(static: Static, variables: Variables, examples: Examples, valid: jax.Array) -> Metrics:
    inputs, targets = examples
    logits = compute_logits(static, variables, inputs)
    correct = (logits.argmax(-1) == targets) & valid
    losses = jnp.where(valid, cross_entropy(logits, targets), 0.0)
    return {"loss": losses.sum(), "correct": correct.sum()}


@jax.jit
def _means(batches: list[Metrics]) -> Metrics:
    total = jax.tree.map(lambda *sums: sum(sums), *batches)
    return {
        EVAL_LOSS: total["loss"] / total["examples"],
        EVAL_ACCURACY: total["correct"] / total["examples"],
    }
