"""Schedule-free optimizers: the cases of the common tests, and what is evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from optimizer_cases import Case

from runner.errors import ConfigError
from runner.optimizers import Wrappers, assign, eval_params, split, transformation
from runner.schedules import CyclicLR

SGD = {"b1": 0.8, "weight_decay": 0.02, "weight_lr_power": 1.5}
ADAMW = {"b1": 0.8, "b2": 0.95, "eps": 1e-6, "weight_decay": 0.02, "weight_lr_power": 1.5}

CASES = [
    Case("schedule_free_sgd", SGD, contrib.schedule_free_sgd),
    Case("schedule_free_sgd", SGD | {"weight_decay": None}, contrib.schedule_free_sgd),
    Case("schedule_free_adamw", ADAMW, contrib.schedule_free_adamw),
]

REFUSED = [
    ("optimizer=schedule_free_sgd optimizer.b1=0", "b1"),
    ("optimizer=schedule_free_adamw optimizer.b1=1", "b1"),
    ("optimizer=schedule_free_adamw optimizer.weight_lr_power=-1", "weight_lr_power"),
]

BOTH = pytest.mark.parametrize(
    ("name", "arguments"), [("schedule_free_sgd", SGD), ("schedule_free_adamw", ADAMW)]
)
# Rates that rise from 0 and fall again, each of its own step.
RATES = CyclicLR(base_lr=0.0, max_lr=0.5, step_size_up=3)
STEPS = 8
RANDOM = np.random.default_rng(0)
PARAMS = {
    "body": {"kernel": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32), "bias": jnp.ones(2)},
    "head": {"kernel": jnp.asarray(RANDOM.normal(size=(2, 2)), jnp.float32), "bias": jnp.ones(2)},
}


def gradient(y):
    return jax.tree.map(lambda param: 2 * param - 1, y)


def in_float64(arguments, params, rates):
    """y and x after each update by the equations of the paper: one array, NumPy in float64."""
    b1, decay, power = (arguments[key] for key in ("b1", "weight_decay", "weight_lr_power"))
    x = z = y = np.asarray(params, np.float64)
    moment, sums, largest, passed = np.zeros_like(y), 0.0, 0.0, []
    for count, rate in enumerate(rates, start=1):
        grad = 2 * y - 1
        if "b2" in arguments:
            moment = arguments["b2"] * moment + (1 - arguments["b2"]) * grad**2
            corrected = moment / (1 - arguments["b2"] ** count)
            grad = grad / (corrected**0.5 + arguments["eps"])
        z = z - rate * (grad + decay * y)
        largest = max(largest, rate)
        sums += largest**power
        share = largest**power / sums if sums else 0.0
        x = (1 - share) * x + share * z
        y = (1 - b1) * z + b1 * x
        passed.append((y, x))
    return passed


def run(name, arguments, *, steps=STEPS, patterns=None, frozen=(), clip_norm=None, rates=RATES):
    """Params and evaluated params of a whole model after each update."""
    optimizer, hyperparams = split(name, arguments)
    groups = assign(PARAMS, patterns or {}, frozen=frozen)
    wrappers = Wrappers.of(clip_norm=clip_norm)

    def tx(step):
        each = jnp.broadcast_to(rates(step), len(groups.names))
        return transformation(
            optimizer, hyperparams, groups=groups, wrappers=wrappers, rates=list(each)
        )

    @jax.jit
    def update(step, params, state):
        grads = gradient(params)
        updates, state = tx(step).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = groups.trained(PARAMS)
    state, passed = tx(0).init(params), []
    for step in range(steps):
        params, state = update(jnp.int32(step), params, state)
        evaluated = jax.jit(eval_params, static_argnums=(0, 1))(optimizer, groups, state, params)
        passed.append((params, evaluated))
    return passed


def assert_close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


@BOTH
def test_training_and_evaluation_are_the_papers_with_the_rate_of_each_step(name, arguments):
    rates = [float(RATES(step)) for step in range(STEPS)]
    assert rates[0] == 0.0
    expected = in_float64(arguments, PARAMS["body"]["kernel"], rates)
    for (params, evaluated), (y, x) in zip(run(name, arguments), expected, strict=True):
        assert_close(params["body"]["kernel"], y)
        assert_close(evaluated["body"]["kernel"], x)
    assert np.abs(y - x).max() > 1e-3


@pytest.mark.slow
@BOTH
def test_the_evaluated_parameters_are_optaxs(name, arguments):
    """At a constant rate, at which optax does not use the rate of another step."""
    tx = getattr(contrib, name)(0.1, **arguments)
    params, state = PARAMS, tx.init(PARAMS)
    for ours, evaluated in run(name, arguments, rates=lambda _: jnp.float32(0.1)):
        updates, state = tx.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
        expected = contrib.schedule_free_eval_params(state, params)
        jax.tree.map(assert_close, (ours, evaluated), (params, expected))


@BOTH
def test_each_group_is_evaluated_by_its_own_average(name, arguments):
    """The rates of the groups differ, and each group has its own sum of weights."""
    rates = CyclicLR(base_lr=[0.0, 0.0], max_lr=[0.5, 0.05], step_size_up=3)
    passed = run(name, arguments, patterns={"head": ("head/*",)}, rates=rates)
    for place, part in enumerate(("head", "body")):
        own = [float(rates(step)[place]) for step in range(STEPS)]
        for key in ("kernel", "bias"):
            expected = in_float64(arguments, PARAMS[part][key], own)
            for (params, evaluated), (y, x) in zip(passed, expected, strict=True):
                assert_close(params[part][key], y)
                assert_close(evaluated[part][key], x)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("clip_norm", [None, 1e6])
def test_frozen_parameters_are_left_out_with_and_without_clipping(name, arguments, clip_norm):
    whole = run(name, arguments)
    patterns = {"body": ("body/*",), "biases": ("*/bias",)}
    passed = run(name, arguments, patterns=patterns, frozen=("body",), clip_norm=clip_norm)
    for (params, evaluated), (all_params, all_evaluated) in zip(passed, whole, strict=True):
        assert params["body"] == evaluated["body"] == {"kernel": None, "bias": None}
        jax.tree.map(assert_close, params["head"], all_params["head"])
        jax.tree.map(assert_close, evaluated["head"], all_evaluated["head"])


@BOTH
def test_runs_with_different_b1_share_one_program(name, arguments):
    traced = []

    @jax.jit
    def evaluated(hyperparams):
        traced.append(name)
        optimizer = split(name, arguments)[0]
        tx = optimizer.build(0.1, hyperparams)
        params, state = PARAMS["body"], tx.init(PARAMS["body"])
        for _ in range(3):
            updates, state = tx.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
        return optimizer.eval_params(state, params)["kernel"]

    own = [split(name, arguments | {"b1": b1})[1] for b1 in (0.5, 0.9)]
    apart = [evaluated(hyperparams) for hyperparams in own]
    assert len(traced) == 1
    lanes = jax.vmap(evaluated)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *own))
    for lane, alone, b1 in zip(lanes, apart, (0.5, 0.9), strict=True):
        (*_, (_, x)) = in_float64(arguments | {"b1": b1}, PARAMS["body"]["kernel"], [0.1] * 3)
        assert_close(lane, x)
        assert_close(alone, x)


@BOTH
def test_the_b1_of_the_state_holds_where_another_is_given_later(name, arguments):
    """A resumed run with a changed setting: the average is still recovered."""
    optimizer, first = split(name, arguments)
    _, later = split(name, arguments | {"b1": 0.5})
    start = PARAMS["body"]
    state = optimizer.build(0.1, first).init(start)
    updates, state = optimizer.build(0.1, first).update(gradient(start), state, start)
    params = optax.apply_updates(start, updates)
    expected = optimizer.build(0.1, first).update(gradient(params), state, params)
    changed = optimizer.build(0.1, later).update(gradient(params), state, params)
    jax.tree.map(np.testing.assert_array_equal, changed, expected)


@BOTH
def test_b1_is_not_a_momentum_that_a_schedule_may_cycle(name, arguments):
    optimizer, hyperparams = split(name, arguments)
    assert optimizer.momentum_name is None
    assert "b1" in hyperparams


@pytest.mark.parametrize("b1", [0, 1, 1.5])
def test_b1_must_leave_an_average_to_recover(b1):
    with pytest.raises(ConfigError, match=r"optimizer\.b1: "):
        split("schedule_free_sgd", {"b1": b1})
