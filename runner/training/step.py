"""One optimizer update, and the score of one batch: pure functions of arrays."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from runner.optimizers import Optimizer
from runner.tags import CYCLE, LOSS, MOMENTUM, RATE
from runner.training.state import Hyper, TrainState


def init_state(
    model: nn.Module, optimizer: Optimizer, hyper: Hyper, *, seed: jax.Array, inputs: jax.Array
) -> TrainState:
    """The state before the first update; ``inputs`` [batch, ...] gives the model its shapes."""
    params_key, key = jax.random.split(jax.random.key(seed))
    variables = dict(model.init(params_key, inputs, train=False))
    params = variables.pop("params")
    step = jnp.zeros((), jnp.int32)
    tx = transformation(optimizer, hyper, step)
    return TrainState(step, params, variables, tx.init(params), key)


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    state: TrainState,
    hyper: Hyper,
    examples: tuple[jax.Array, jax.Array],
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Applies the update numbered ``state.step``; metrics are those of this update.

    examples: inputs [batch, ...] float32 and targets [batch] int32.
    The loss is the mean cross-entropy of the batch, before the update.
    """
    inputs, targets = examples
    key = jax.random.fold_in(state.key, state.step)

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
        logits, model_state = model.apply(
            {"params": params, **state.model_state},
            inputs,
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": key},
        )
        return _cross_entropy(logits, targets).mean(), model_state

    (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    tx = transformation(optimizer, hyper, state.step)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {LOSS: loss, **schedule_values(hyper, state.step)}
    return TrainState(state.step + 1, params, dict(model_state), opt_state, state.key), metrics


def schedule_values(hyper: Hyper, step: jax.Array) -> dict[str, jax.Array]:
    """Rate, cycle and, where it is cycled, momentum of the update numbered ``step``."""
    schedule = hyper.schedule
    values = {RATE: schedule(step), CYCLE: schedule.cycle(step)}
    return values | ({MOMENTUM: schedule.momentum(step)} if schedule.cycles_momentum else {})


def metric_shapes(hyper: Hyper) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of what ``train_step`` returns as metrics."""
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    return {LOSS: scalar, **jax.eval_shape(schedule_values, hyper, step)}


def transformation(
    optimizer: Optimizer, hyper: Hyper, step: jax.Array
) -> optax.GradientTransformation:
    """The optimizer with its numbers at ``step``; built inside the traced step, at no cost."""
    values = schedule_values(hyper, step)
    numbers: Mapping[str, Any] = hyper.optimizer
    if MOMENTUM in values and optimizer.momentum_key is not None:
        numbers = {**numbers, optimizer.momentum_key: values[MOMENTUM]}
    return optimizer.build(values[RATE], numbers)


def score(
    model: nn.Module, state: TrainState, examples: tuple[jax.Array, jax.Array], valid: jax.Array
) -> dict[str, jax.Array]:
    """Summed loss and number of correct answers over the examples where ``valid`` [batch]."""
    inputs, targets = examples
    variables = {"params": state.params, **state.model_state}
    logits, _ = model.apply(variables, inputs, train=False, mutable=[])
    correct = (logits.argmax(-1) == targets) & valid
    losses = jnp.where(valid, _cross_entropy(logits, targets), 0.0)
    return {"loss": losses.sum(), "correct": correct.sum()}


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
