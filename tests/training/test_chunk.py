"""The compiled functions: they reuse the memory of their state, and convolutions are found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runner.data.dataset import Examples
from runner.data.feed import Source
from runner.experiment.build import may_loop
from runner.models.mlp import linear
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, split
from runner.schedules import Constant
from runner.training.loop import scan_chunk
from runner.training.state import Hyperparams, Static
from runner.training.step import init_state
from runner.training.stepwise import step_chunk


@pytest.mark.parametrize("train_chunk", [scan_chunk, step_chunk])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_memory_of_the_state_is_reused(train_chunk, accumulate):
    arguments = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
    chosen, values = split("sgd", arguments)
    static = Static(linear(num_outputs=2), chosen, accumulate=accumulate)
    objective = Classification(targets=Targets(num_classes=2))
    hyperparams = Hyperparams(Constant(base_lr=0.1), values, Wrappers.of(ema_decay=0.9), objective)
    inputs = jnp.ones((4, 2, 2, 1))
    state = init_state(static, hyperparams, seed=jnp.uint32(0), inputs=inputs)
    source = Source(Examples(inputs, jnp.zeros(4, jnp.int32)))
    indices = np.arange(8, dtype=np.int32).reshape(2, 4) % 4
    arguments = (indices, np.int32(2)) if train_chunk is scan_chunk else (list(indices), 2)
    after, *_ = train_chunk(static, state, hyperparams, source, *arguments)
    before = (state.params, state.opt_state, state.average, state.step)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert int(after.step) == 2


def convolve(x):
    return jax.lax.conv(x, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME")


@pytest.mark.parametrize(
    "function",
    [
        convolve,
        jax.jit(lambda x: x + jax.jit(convolve)(x)),
        jax.checkpoint(convolve),
        lambda x: jax.lax.scan(lambda x, _: (convolve(x), None), x, length=3)[0],
        lambda x: jax.lax.cond(x.sum() > 0, convolve, jnp.negative, x),
    ],
    ids=["plain", "jit", "checkpoint", "scan", "cond"],
)
def test_a_convolution_is_found_wherever_it_is_called(function):
    jaxpr = jax.make_jaxpr(function)(jnp.ones((1, 1, 4, 4))).jaxpr
    assert not may_loop(jaxpr, "cpu")
    assert may_loop(jaxpr, "gpu")
