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
    variables: Variables,
    source: Source,
    batches: Iterable[Batch],
) -> Metrics:
    """Means over all examples by tag: sums per batch, added up in order.

    variables: those of ``evaluated_variables``, or of a saved run. They are an argument of the
      compiled program, so that both give the same metrics to the bit.
    batches: pairs of what ``source`` reads examples from and a mask [batch], False for padding.
    """
    return _means([_batch_sums(static, variables, source, *batch) for batch in batches])


def score(static: Static, variables: Variables, examples: Examples, valid: jax.Array) -> Metrics:
    """Summed loss and number of correct answers over the examples where ``valid`` [batch]."""
    inputs, targets = examples
    logits = compute_logits(static, variables, inputs)
    correct = (logits.argmax(-1) == targets) & valid
    losses = jnp.where(valid, cross_entropy(logits, targets), 0.0)
    return {"loss": losses.sum(), "correct": correct.sum()}


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


def evaluated_variables(static: Static, state: TrainState) -> dict[str, Any]:
    """The variables of the model that evaluations use."""
    return {"params": evaluated_params(static, state), **state.model_state}


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
    static: Static, variables: Variables, source: Source, batch: Any, valid: jax.Array
) -> Metrics:
    sums = score(static, variables, source.examples(batch), valid)
    return {**sums, "examples": valid.sum()}


@jax.jit
def _means(batches: list[Metrics]) -> Metrics:
    total = jax.tree.map(lambda *sums: sum(sums), *batches)
    return {
        EVAL_LOSS: total["loss"] / total["examples"],
        EVAL_ACCURACY: total["correct"] / total["examples"],
    }
