"""One optimizer update as a pure function of arrays."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from runner import optimizers
from runner.data.feed import Source
from runner.data.preparation import Examples
from runner.objectives import Objective
from runner.schedules.plateau import Plateau, PlateauState
from runner.training.rates import Metrics, group_rates, schedule_values
from runner.training.state import Hyperparams, Static, TrainState
from runner.training.tags import LOSS

# Folded into the key of a batch to get the key of its augmentation.
_AUGMENTATION = 1


# A state, and the metrics of a chunk, arrays by tag [capacity].
Trained = tuple[TrainState, Metrics]


class Gradients(NamedTuple):
    """Gradients of the trained parameters, with their loss and the model state after it.

    While microbatches are accumulated, ``grads`` and ``loss`` are sums over them.
    """

    grads: Any
    loss: jax.Array
    model_state: Any


def init_state(
    static: Static, hyperparams: Hyperparams, *, seed: jax.Array, inputs: jax.Array
) -> TrainState:
    """The state before the first update; ``inputs`` [batch, ...] gives the model its shapes."""
    params_key, key = jax.random.split(jax.random.key(seed))
    variables = dict(static.model.init(params_key, inputs, train=False))
    params = variables.pop("params")
    step = jnp.zeros((), jnp.int32)
    trained = static.groups.trained(params)
    wrappers = hyperparams.wrappers
    averages = wrappers.lookahead is not None or wrappers.average is not None
    return TrainState(
        step=step,
        params=params,
        model_state=variables,
        opt_state=transformation(static, hyperparams, step).init(trained),
        key=key,
        # Copies, as the state is donated and no buffer can be donated twice.
        slow=None if wrappers.lookahead is None else jax.tree.map(jnp.copy, trained),
        average=None if wrappers.average is None else jax.tree.map(jnp.copy, trained),
        averaged_model_state=jax.tree.map(jnp.copy, variables) if averages and variables else None,
        plateau=_start(hyperparams.schedule.plateau),
        stopping=_start(hyperparams.stopping),
        rate_factor=jnp.ones((), jnp.float32) if static.backs_off else None,
    )


def train_step(
    static: Static, state: TrainState, hyperparams: Hyperparams, source: Source, batch: Any
) -> tuple[TrainState, Metrics]:
    """Applies update ``state.step``; returns the state after it and the metrics of the update.

    batch: what ``source`` reads the examples from, arrays [accumulate * batch, ...].
    The loss is that of the examples with the parameters before the update.
    """
    gradients_of = batch_gradients if static.accumulate == 1 else _accumulated_gradients
    gradients = gradients_of(static, state, hyperparams.objective, source, batch)
    return apply_gradients(static, state, hyperparams, gradients)


def apply_gradients(
    static: Static, state: TrainState, hyperparams: Hyperparams, sums: Gradients
) -> tuple[TrainState, Metrics]:
    """The state after the update by the mean of ``sums``, and the metrics of the update."""
    step, wrappers = state.step, hyperparams.wrappers
    grads, loss = jax.tree.map(lambda total: total / static.accumulate, (sums.grads, sums.loss))
    trained = static.groups.trained(state.params)
    tx = transformation(static, hyperparams, step, state)
    updates, opt_state = tx.update(grads, state.opt_state, trained)
    trained = optax.apply_updates(trained, updates)
    slow, average = state.slow, state.average
    if wrappers.lookahead is not None:
        trained, slow = wrappers.lookahead.after(step, trained, slow)
    if wrappers.average is not None:
        average = wrappers.average.after(step, trained, average)
    params = static.groups.merged(trained, state.params)
    averaged = _averaged_model_state(wrappers, step, sums.model_state, state.averaged_model_state)
    metrics = {LOSS: loss, **schedule_values(static.groups, hyperparams, step, state)}
    state = replace(
        state,
        step=step + 1,
        params=params,
        model_state=sums.model_state,
        opt_state=opt_state,
        slow=slow,
        average=average,
        averaged_model_state=averaged,
    )
    return state, metrics


def _averaged_model_state(
    wrappers: optimizers.Wrappers, step: jax.Array, model_state: Any, averaged: Any
) -> Any:
    """The averaged model state after update ``step``; integers (counts) are not averaged."""
    if averaged is None:
        return None
    if wrappers.average is not None:
        found = wrappers.average.after(step, model_state, averaged)
    else:
        assert wrappers.lookahead is not None
        _, found = wrappers.lookahead.after(step, model_state, averaged)
    return jax.tree.map(
        lambda new, mean: mean if jnp.issubdtype(new.dtype, jnp.floating) else new,
        model_state,
        found,
    )


def transformation(
    static: Static, hyperparams: Hyperparams, step: jax.Array, state: TrainState | None = None
) -> optax.GradientTransformation:
    """The optimizer with its hyperparameters at ``step``; built inside the traced step.

    No ``state`` is needed to initialise the optimizer's state.
    """
    optimizer = static.optimizer
    values = dict(hyperparams.optimizer)
    if hyperparams.schedule.cycles_momentum and optimizer.momentum_name is not None:
        values[optimizer.momentum_name] = hyperparams.schedule.momentum(step)
    return optimizers.transformation(
        optimizer,
        values,
        groups=static.groups,
        wrappers=hyperparams.wrappers,
        rates=group_rates(static.groups, hyperparams, step, state),
    )


def batch_gradients(
    static: Static,
    state: TrainState,
    objective: Objective,
    source: Source,
    batch: Any,
    microbatch: Any = 0,
) -> Gradients:
    """Gradients of the mean loss of one batch; ``microbatch`` is its index in the update."""
    key = jax.random.fold_in(state.key, state.step)
    if static.accumulate > 1:
        key = jax.random.fold_in(key, microbatch)
    examples = source.prepared(batch, jax.random.fold_in(key, _AUGMENTATION))

    def loss_fn(trained: Any) -> tuple[jax.Array, Any]:
        params = static.groups.merged(trained, state.params)
        outputs, changed = static.model.apply(
            {"params": in_compute_dtype(static, params), **state.model_state},
            in_compute_dtype(static, examples.inputs),
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": key},
        )
        model_state = jax.tree.map(
            lambda new, old: new.astype(old.dtype), dict(changed), state.model_state
        )
        return mean_loss(objective, outputs.astype(jnp.float32), examples), model_state

    trained = static.groups.trained(state.params)
    (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
    return Gradients(grads, loss, model_state)


def observe(
    state: TrainState, hyperparams: Hyperparams, value: jax.Array, *, highest: bool
) -> TrainState:
    """The state after an evaluation that measured ``value`` of the metric that ranks evaluations.

    ``highest``: whether the highest value is the best.
    """

    def after(plateau: Plateau | None, counted: Any) -> PlateauState | None:
        return None if plateau is None else plateau.after(counted, value, highest=highest)

    return replace(
        state,
        plateau=after(hyperparams.schedule.plateau, state.plateau),
        stopping=after(hyperparams.stopping, state.stopping),
    )


def _start(plateau: Plateau | None) -> PlateauState | None:
    return None if plateau is None else plateau.start()


def zero_gradients(static: Static, state: TrainState) -> Gradients:
    """The sums before the first microbatch of an update."""
    trained = static.groups.trained(state.params)
    zeros = jax.tree.map(jnp.zeros_like, trained)
    # A copy, as sums are donated while the state is still read.
    model_state = jax.tree.map(jnp.copy, state.model_state)
    return Gradients(zeros, jnp.zeros((), jnp.float32), model_state)


def add_microbatch(
    static: Static,
    state: TrainState,
    objective: Objective,
    sums: Gradients,
    source: Source,
    batch: Any,
    microbatch: Any,
) -> Gradients:
    """Adds one microbatch's gradients to ``sums``, threading the model state through."""
    threaded = replace(state, model_state=sums.model_state)
    new = batch_gradients(static, threaded, objective, source, batch, microbatch)
    return Gradients(
        jax.tree.map(jnp.add, sums.grads, new.grads), sums.loss + new.loss, new.model_state
    )


def split_microbatches(static: Static, array: jax.Array) -> jax.Array:
    """[accumulate * batch, ...] → [accumulate, batch, ...]."""
    return array.reshape(static.accumulate, -1, *array.shape[1:])


def in_compute_dtype(static: Static, tree: Any) -> Any:
    """``tree`` with its floating point arrays in the type the model computes in."""
    if static.compute_dtype == "float32":
        return tree
    return jax.tree.map(
        lambda a: a.astype(static.compute_dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a,
        tree,
    )


def mean_loss(objective: Objective, outputs: jax.Array, examples: Examples) -> jax.Array:
    """The loss that training minimises: the weighted mean over a batch, scalar."""
    losses, weights = objective.training_losses(outputs, examples.targets)
    if examples.others is not None:
        others, other_weights = objective.training_losses(outputs, examples.others)
        losses = _shared(losses, others, examples.shares)
        if weights is not None:
            weights = _shared(weights, other_weights, examples.shares)
    return losses.mean() if weights is None else losses.sum() / weights.sum()


def _shared(own: Any, other: Any, shares: Any) -> jax.Array:
    return shares * own + (1 - shares) * other


def _accumulated_gradients(
    static: Static, state: TrainState, objective: Objective, source: Source, batch: Any
) -> Gradients:
    microbatches = jax.tree.map(lambda array: split_microbatches(static, array), batch)

    def add(sums: Gradients, indexed: Any) -> tuple[Gradients, None]:
        microbatch, batch = indexed
        return add_microbatch(static, state, objective, sums, source, batch, microbatch), None

    indexed = jnp.arange(static.accumulate), microbatches
    sums, _ = jax.lax.scan(add, zero_gradients(static, state), indexed)
    return sums
