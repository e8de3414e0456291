"""One optimizer update, and the score of one batch: pure functions of arrays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from runner.optimizers import Groups
from runner.optimizers.base import of_group
from runner.training.state import Hyper, TrainState
from runner.training.static import Structure
from runner.training.tags import CYCLE, LOSS, MOMENTUM, RATE, group_rate

Examples = tuple[jax.Array, jax.Array]
Metrics = dict[str, jax.Array]


class Gradients(NamedTuple):
    """Of the trained parameters, with the loss that they are of and the model's state after it.

    Sums over the batches of an update, where it accumulates several.
    """

    grads: Any
    loss: jax.Array
    model_state: Any


def init_state(
    structure: Structure, hyper: Hyper, *, seed: jax.Array, inputs: jax.Array
) -> TrainState:
    """The state before the first update; ``inputs`` [batch, ...] gives the model its shapes."""
    params_key, key = jax.random.split(jax.random.key(seed))
    variables = dict(structure.model.init(params_key, inputs, train=False))
    params = variables.pop("params")
    step = jnp.zeros((), jnp.int32)
    trained = structure.groups.trained(params)
    wrappers = hyper.wrappers
    return TrainState(
        step=step,
        params=params,
        model_state=variables,
        opt_state=transformation(structure, hyper, step).init(trained),
        key=key,
        # Copies, as the state is donated and no buffer can be given away twice.
        slow=None if wrappers.lookahead is None else jax.tree.map(jnp.copy, trained),
        average=None if wrappers.average is None else jax.tree.map(jnp.copy, trained),
    )


def train_step(
    structure: Structure, state: TrainState, hyper: Hyper, examples: Examples
) -> tuple[TrainState, Metrics]:
    """Applies the update numbered ``state.step``; metrics are those of this update.

    examples: inputs [accumulate * batch, ...] float32 and targets [accumulate * batch] int32.
    The loss is the mean cross-entropy of the examples, before the update.
    """
    if structure.accumulate == 1:
        return apply_gradients(structure, state, hyper, _gradients(structure, state, examples))
    batches = jax.tree.map(lambda a: part(structure, a), examples)

    def add(sums: Gradients, numbered: Any) -> tuple[Gradients, None]:
        return add_gradients(structure, state, sums, *numbered), None

    numbered = jnp.arange(structure.accumulate), batches
    sums, _ = jax.lax.scan(add, no_gradients(structure, state), numbered)
    return apply_gradients(structure, state, hyper, sums)


def part(structure: Structure, array: jax.Array) -> jax.Array:
    """[accumulate * batch, ...] → [accumulate, batch, ...]."""
    return array.reshape(structure.accumulate, -1, *array.shape[1:])


def no_gradients(structure: Structure, state: TrainState) -> Gradients:
    """What gradients are added to, before the first batch of an update."""
    trained = structure.groups.trained(state.params)
    zeros = jax.tree.map(jnp.zeros_like, trained)
    # A copy, as sums are donated while the state is still read.
    model_state = jax.tree.map(jnp.copy, state.model_state)
    return Gradients(zeros, jnp.zeros((), jnp.float32), model_state)


def add_gradients(
    structure: Structure, state: TrainState, sums: Gradients, number: Any, batch: Examples
) -> Gradients:
    """``sums`` with those of the batch of that number among those that an update accumulates.

    It passes through the model's state that the batch before it left.
    """
    passing = replace(state, model_state=sums.model_state)
    new = _gradients(structure, passing, batch, number)
    return Gradients(
        jax.tree.map(jnp.add, sums.grads, new.grads), sums.loss + new.loss, new.model_state
    )


def apply_gradients(
    structure: Structure, state: TrainState, hyper: Hyper, sums: Gradients
) -> tuple[TrainState, Metrics]:
    """The state after the update by the mean of ``sums``, and the update's metrics."""
    step, wrappers = state.step, hyper.wrappers
    grads, loss = jax.tree.map(lambda total: total / structure.accumulate, (sums.grads, sums.loss))
    trained = structure.groups.trained(state.params)
    tx = transformation(structure, hyper, step)
    updates, opt_state = tx.update(grads, state.opt_state, trained)
    trained = optax.apply_updates(trained, updates)
    slow, average = state.slow, state.average
    if wrappers.lookahead is not None:
        trained, slow = wrappers.lookahead.after(step, trained, slow)
    if wrappers.average is not None:
        average = wrappers.average.after(step, trained, average)
    params = structure.groups.whole(trained, state.params)
    metrics = {LOSS: loss, **schedule_values(structure.groups, hyper, step)}
    state = TrainState(step + 1, params, sums.model_state, opt_state, state.key, slow, average)
    return state, metrics


def schedule_values(groups: Groups, hyper: Hyper, step: jax.Array) -> Metrics:
    """Rates, cycle and, where it is cycled, momentum of the update numbered ``step``.

    One rate, or where there are groups that of each one that is trained.
    """
    schedule = hyper.schedule
    rates = _rates(groups, hyper, step)
    values = (
        {group_rate(name): rates[groups.names.index(name)] for name in groups.trained_names}
        if groups.members
        else {RATE: rates[0]}
    )
    values |= {CYCLE: schedule.cycle(step)}
    return values | ({MOMENTUM: schedule.momentum(step)} if schedule.cycles_momentum else {})


def metric_shapes(groups: Groups, hyper: Hyper) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of what ``train_step`` returns as metrics."""
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    values = jax.eval_shape(lambda hyper, step: schedule_values(groups, hyper, step), hyper, step)
    return {LOSS: scalar, **values}


def transformation(
    structure: Structure, hyper: Hyper, step: jax.Array
) -> optax.GradientTransformation:
    """The optimizer with its numbers at ``step``; built inside the traced step, at no cost."""
    optimizer, groups = structure.optimizer, structure.groups
    rates = _rates(groups, hyper, step)
    numbers = dict(hyper.optimizer)
    if hyper.schedule.cycles_momentum and optimizer.momentum_key is not None:
        numbers[optimizer.momentum_key] = hyper.schedule.momentum(step)

    def build(group: int) -> optax.GradientTransformation:
        return optimizer.build(rates[group], of_group(numbers, group))

    return hyper.wrappers.around(groups.transformation(build))


def score(structure: Structure, state: TrainState, examples: Examples, valid: jax.Array) -> Metrics:
    """Summed loss and number of correct answers over the examples where ``valid`` [batch].

    Scored is the average of the parameters where one is kept, else lookahead's slow parameters
    where it has some, else the parameters.
    """
    inputs, targets = examples
    trained = next(
        (tree for tree in (state.average, state.slow) if tree is not None),
        structure.groups.trained(state.params),
    )
    params = structure.groups.whole(trained, state.params)
    variables = {"params": _computed(structure, params), **state.model_state}
    logits, _ = structure.model.apply(
        variables, _computed(structure, inputs), train=False, mutable=[]
    )
    logits = logits.astype(jnp.float32)
    correct = (logits.argmax(-1) == targets) & valid
    losses = jnp.where(valid, _cross_entropy(logits, targets), 0.0)
    return {"loss": losses.sum(), "correct": correct.sum()}


def _rates(groups: Groups, hyper: Hyper, step: jax.Array) -> list[jax.Array]:
    """The rate of each group, scalars."""
    rates = hyper.schedule(step) * hyper.wrappers.multiplier
    if not groups.members:
        return [rates.reshape(())]
    return list(jnp.broadcast_to(rates, len(groups.names)))


def _gradients(
    structure: Structure, state: TrainState, examples: Examples, number: Any = 0
) -> Gradients:
    """Of one batch: means over its examples; ``number`` is its place in the update."""
    key = jax.random.fold_in(state.key, state.step)
    if structure.accumulate > 1:
        key = jax.random.fold_in(key, number)
    loss_fn = _loss_of(structure, state, examples, key)
    trained = structure.groups.trained(state.params)
    (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
    return Gradients(grads, loss, model_state)


def _loss_of(
    structure: Structure, state: TrainState, examples: Examples, key: jax.Array
) -> Callable[[Any], tuple[jax.Array, Any]]:
    """Trained parameters → mean loss of the examples, the model's new state."""
    inputs, targets = examples

    def loss_fn(trained: Any) -> tuple[jax.Array, Any]:
        params = structure.groups.whole(trained, state.params)
        logits, changed = structure.model.apply(
            {"params": _computed(structure, params), **state.model_state},
            _computed(structure, inputs),
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": key},
        )
        model_state = jax.tree.map(
            lambda new, old: new.astype(old.dtype), dict(changed), state.model_state
        )
        return _cross_entropy(logits.astype(jnp.float32), targets).mean(), model_state

    return loss_fn


def _computed(structure: Structure, tree: Any) -> Any:
    """The floating point arrays of ``tree`` in the type that the model computes in."""
    if structure.compute_dtype == "float32":
        return tree
    return jax.tree.map(
        lambda a: a.astype(structure.compute_dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a,
        tree,
    )


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
