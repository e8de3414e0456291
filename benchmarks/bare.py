"""Hand-written JAX training loops that log nothing: what the runner is measured against.

They take the model, the data and the length of an experiment, and start from its initial
parameters. Batches and dropout are the same, so that the parameters at the end agree up to
rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from descents import Descent
from pairs import Side

from runner.data.dataset import Split
from runner.data.order import batch_indices
from runner.experiment.build import Experiment

# (params, model state, inputs [batch, ...], key) → logits and the new model state.
Network = Callable[[Any, Any, jax.Array, jax.Array], tuple[jax.Array, Any]]


class Carry(NamedTuple):
    """What a loop carries from step to step."""

    params: Any
    model_state: Any
    opt_state: Any
    step: Any
    key: jax.Array


def scanned(
    experiment: Experiment, network: Network, descent: Descent, *, every: int | None = None
) -> Side:
    """One ``jax.jit(lax.scan)`` over all updates, or over ``every`` updates and an evaluation."""
    update, steps = _update(network, descent), experiment.lengths.steps
    train, selection = (
        _arrays(experiment, split)
        for split in (experiment.dataset.train, experiment.dataset.selection)
    )
    evaluate = _evaluation(network)

    @partial(jax.jit, donate_argnums=0)
    def scan(carry, train, indices):
        return jax.lax.scan(lambda carry, row: update(carry, train, row), carry, indices)

    def run(carry):
        found = []
        for first in range(0, steps, every or steps):
            rows = _rows(experiment, first, min(every or steps, steps - first))
            carry, losses = scan(carry, train, rows)
            found.append(losses)
            if every is not None:
                found.append(evaluate(carry.params, carry.model_state, selection))
        return carry.params, found

    return Side(partial(_start, experiment, descent), run)


def dispatched(experiment: Experiment, network: Network, descent: Descent) -> Side:
    """One jitted update per dispatch; the state is donated and nothing is fetched."""
    update = jax.jit(_update(network, descent), donate_argnums=0)
    steps, train = experiment.lengths.steps, _arrays(experiment, experiment.dataset.train)

    def run(carry):
        found = []
        for row in _rows(experiment, 0, steps):
            carry, loss = update(carry, train, row)
            found.append(loss)
        return carry.params, found

    return Side(partial(_start, experiment, descent), run)


def evaluations(experiment: Experiment, network: Network, *, count: int) -> Side:
    """``count`` evaluations of the initial parameters."""
    selection = _arrays(experiment, experiment.dataset.selection)
    evaluate = _evaluation(network)

    def run(state):
        return [evaluate(state.params, state.model_state, selection) for _ in range(count)]

    return Side(experiment.initial_state, run)


def mlp(params: Any, model_state: Any, x: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
    """The multilayer perceptron with ReLU, without flax."""
    *hidden, last = (params[f"Dense_{i}"] for i in range(len(params)))
    x = x.reshape(len(x), -1)
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"], model_state


def flax_model(model: nn.Module) -> Network:
    """A flax module in training."""

    def network(params, model_state, x, key):
        return model.apply(
            {"params": params, **model_state},
            x,
            train=True,
            mutable=list(model_state),
            rngs={"dropout": key},
        )

    return network


def _update(network: Network, descent: Descent) -> Callable[..., tuple[Carry, jax.Array]]:
    def update(carry, train, row):
        inputs, targets = train
        key = jax.random.fold_in(carry.key, carry.step)

        def loss_fn(params):
            logits, model_state = network(params, carry.model_state, inputs[row], key)
            return _loss(logits, targets[row]), model_state

        (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(carry.params)
        params, opt_state = descent.apply(carry.step, carry.params, carry.opt_state, grads)
        return Carry(params, model_state, opt_state, carry.step + 1, carry.key), loss

    return update


def _evaluation(network: Network) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Loss and accuracy over all examples in one program."""

    @jax.jit
    def evaluate(params, model_state, examples):
        inputs, targets = examples
        logits, _ = network(params, model_state, inputs, jax.random.key(0))
        return _loss(logits, targets), (logits.argmax(-1) == targets).mean()

    return evaluate


def _loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def _start(experiment: Experiment, descent: Descent) -> Carry:
    state = experiment.initial_state()
    opt_state = descent.init(state.params)
    return Carry(state.params, state.model_state, opt_state, jnp.int32(0), state.key)


def _arrays(experiment: Experiment, split: Split) -> tuple[jax.Array, jax.Array]:
    """Inputs as the model sees them, and targets."""
    inputs, targets, *_ = split.all()
    dataset = experiment.dataset
    if dataset.normalized:
        mean, std = (np.asarray(value, np.float32) for value in (dataset.mean, dataset.std))
        inputs = (inputs.astype(np.float32) - mean) / std
    return jnp.asarray(inputs), jnp.asarray(targets)


def _rows(experiment: Experiment, first: int, count: int) -> np.ndarray:
    """The examples of some steps [count, batch]."""
    return batch_indices(
        seed=experiment.config.seed,
        first_step=first,
        count=count,
        batch_size=experiment.lengths.examples_per_step,
        n=len(experiment.dataset.train),
    )
