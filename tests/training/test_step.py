"""One update: microbatches, frozen parameters, averages and the compute dtype."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sampling import slow_except

from runner.cli.commands import configure
from runner.data.dataset import Examples
from runner.data.feed import Source
from runner.models.cnn import cnn
from runner.models.mlp import linear, mlp
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, assign, split
from runner.registry import optimizers
from runner.schedules import Constant, CyclicLR
from runner.training.evaluation import evaluated_variables, score
from runner.training.loop import scan_chunk
from runner.training.state import Hyperparams, Static
from runner.training.step import batch_gradients, in_compute_dtype, init_state, train_step
from runner.training.stepwise import step_chunk

ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.01}
RANDOM = np.random.default_rng(0)
INPUTS = jnp.asarray(RANDOM.normal(size=(24, 8, 8, 1)), jnp.float32)
TARGETS = jnp.asarray(RANDOM.integers(0, 10, 24), jnp.int32)
RAW = Source()
OBJECTIVE = Classification(targets=Targets(num_classes=10))
MLP = mlp(hidden=[16], num_outputs=10)
# Compiles in two thirds of the time. What must hold to the bit is compiled as in a run.
QUICK = {"xla_backend_optimization_level": 0}
PATTERNS = {"first": ("Dense_0/*",), "biases": ("*/bias",)}


BOTH = ["params", "inputs"]


class Noisy(nn.Module):
    """A model with running statistics and dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(16)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(10)(x)


class Still(nn.Module):
    """The smallest model with running statistics."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train)(x.reshape(len(x), -1))
        return nn.Dense(10)(x)


class Watched(nn.Module):
    """A linear classifier that counts what its dropout has kept, in the compute dtype."""

    @nn.compact
    def __call__(self, x, *, train):
        x = x.reshape(len(x), -1)
        counts = self.variable("watched", "counts", jnp.zeros, 1000)
        kept = nn.Dropout(0.5, deterministic=not train)(jnp.ones(1000, x.dtype))
        if train:
            counts.value = counts.value.astype(x.dtype) + (kept > 0)
        return nn.Dense(10)(x)


def set_up(
    model=MLP,
    *,
    optimizer="sgd",
    arguments=SGD,
    schedule=None,
    frozen=(),
    wrappers=None,
    **options,
):
    chosen, values = split(optimizer, arguments)
    patterns = PATTERNS if frozen or options.pop("grouped", False) else {}
    variables = jax.eval_shape(lambda k: model.init(k, INPUTS[:1], train=False), jax.random.key(0))
    groups = assign(variables["params"], patterns, frozen=frozen)
    static = Static(model, chosen, groups, **options)
    schedule, wrappers = schedule or Constant(base_lr=0.1), wrappers or Wrappers.of()
    hyperparams = Hyperparams(schedule, values, wrappers, OBJECTIVE)
    state = init_state(static, hyperparams, seed=jnp.uint32(1), inputs=INPUTS[:1])
    return static, hyperparams, state


def updates(static, hyperparams, state, *, steps=5, size=8, options=QUICK):
    """The state after some updates, each on the next examples, and the metrics of each."""
    step = jax.jit(train_step, static_argnums=0, compiler_options=options)
    noted = []
    for i in range(steps):
        rows = (np.arange(size) + i * size) % len(INPUTS)
        state, metrics = step(static, state, hyperparams, RAW, (INPUTS[rows], TARGETS[rows]))
        noted.append(metrics)
    return state, noted


EXAMPLES = Examples(INPUTS, TARGETS)


def scored_by(static, state, examples=EXAMPLES):
    """The sums of an evaluation, without padding."""
    valid = jnp.ones(len(examples.targets), bool)
    return score(static, evaluated_variables(static, state), OBJECTIVE, examples, valid)


def close(one, other, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


def test_accumulated_microbatches_equal_one_batch():
    static, hyperparams, state = set_up()
    whole, noted = updates(static, hyperparams, state, size=12)
    parted, noted_too = updates(replace(static, accumulate=3), hyperparams, state, size=12)
    close(parted.params, whole.params)
    close(noted_too, noted)
    assert int(parted.step) == 5  # a step is an update, however many batches it took


@pytest.mark.slow
def test_accumulation_equals_optaxs():
    """``optax.MultiSteps`` takes a batch at a time and moves the parameters after every third."""
    static, hyperparams, state = set_up(optimizer="adam", arguments=ADAM, accumulate=3)
    ours, _ = updates(static, hyperparams, state, size=12)
    tx = optax.MultiSteps(optax.adam(0.1), 3)
    params, opt_state = state.params, tx.init(state.params)

    def loss(params, rows):
        logits = MLP.apply({"params": params}, INPUTS[rows], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS[rows]).mean()

    @partial(jax.jit, compiler_options=QUICK)
    def update(params, opt_state, rows):
        steps, opt_state = tx.update(jax.grad(loss)(params, rows), opt_state, params)
        return optax.apply_updates(params, steps), opt_state

    for i in range(15):
        params, opt_state = update(params, opt_state, (np.arange(4) + 4 * i) % 24)
    close(ours.params, params, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        Noisy(),
        pytest.param(cnn(features=[2], dense=4, num_outputs=10), marks=pytest.mark.slow),
    ],
)
def test_microbatches_dispatched_one_by_one_equal_those_in_a_loop(model):
    static, hyperparams, state = set_up(model, accumulate=3)
    source, rows = Source(Examples(INPUTS, TARGETS)), np.arange(24).reshape(2, 12)
    ends = []
    for train_chunk in (scan_chunk, step_chunk):
        start = jax.tree.map(jnp.copy, state)  # it is donated
        batches = (rows, np.int32(2)) if train_chunk is scan_chunk else (list(rows), 2)
        ends.append(train_chunk(static, start, hyperparams, source, *batches)[:2])
    (looped, noted), (laid_out, noted_too) = ends
    close((looped.params, looped.model_state), (laid_out.params, laid_out.model_state), rtol=1e-4)
    close(noted, noted_too, rtol=1e-4)
    assert int(laid_out.step) == 2


@pytest.mark.slow
def test_running_statistics_pass_through_every_microbatch():
    static, hyperparams, state = set_up(Noisy(), accumulate=3)
    one, _ = updates(static, hyperparams, state, steps=1, size=12)
    kernel = state.params["Dense_0"]["kernel"]
    mean = np.zeros(16)
    for batch in np.split(np.asarray(INPUTS[:12]), 3):
        # flax's momentum of 0.99; all three batches see the parameters before the update.
        mean = 0.99 * mean + 0.01 * (batch.reshape(4, -1) @ kernel).mean(0)
    close(one.model_state["batch_stats"]["BatchNorm_0"]["mean"], mean, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "steps"), [(1, 2), (2, 1)])
def test_dropout_differs_between_steps_and_between_microbatches(accumulate, steps):
    set_up_so = set_up(Watched(), accumulate=accumulate)
    after, _ = updates(*set_up_so, steps=steps)
    counts = np.asarray(after.model_state["watched"]["counts"])
    # Kept twice, once, never: a quarter, a half, a quarter of the 1000 to within 6 sigma.
    np.testing.assert_allclose(np.bincount(counts.astype(int)), [250, 500, 250], atol=95)


@pytest.mark.slow
def test_a_frozen_group_stays_bit_for_bit_unchanged():
    wrappers = Wrappers.of(clip_norm=0.5, sync_period=2, ema_decay=0.9)
    static, hyperparams, state = set_up(frozen=("first",), wrappers=wrappers)
    # Among them zeros of negative sign, which a sum with zero could change.
    first = jax.tree.map(lambda p: p.at[..., 0].set(-0.0), state.params["Dense_0"])
    state = replace(state, params={**state.params, "Dense_0": first})
    after, noted = updates(static, hyperparams, state, options=None)
    for name, param in first.items():
        assert np.asarray(after.params["Dense_0"][name]).tobytes() == np.asarray(param).tobytes()
    assert not np.array_equal(after.params["Dense_1"]["kernel"], state.params["Dense_1"]["kernel"])
    assert set(noted[0]) == {
        "train/loss",
        "schedule/lr/biases",
        "schedule/lr/default",
        "schedule/cycle",
    }


def test_a_frozen_group_has_no_optimizer_state_and_no_averages():
    wrappers = Wrappers.of(sync_period=2, ema_decay=0.9)
    _, _, state = set_up(optimizer="adam", arguments=ADAM, frozen=("first",), wrappers=wrappers)
    trained = sum(leaf.size for leaf in jax.tree.leaves(state.params["Dense_1"]))
    counts = 2  # adam counts its updates, once for each group that is trained
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) == 2 * trained + counts
    for kept in (state.slow, state.average):
        assert sum(leaf.size for leaf in jax.tree.leaves(kept)) == trained


@pytest.mark.slow
def test_a_frozen_group_does_not_count_in_the_clipped_norm():
    static, hyperparams, state = set_up(
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        frozen=("first",),
        wrappers=Wrappers.of(clip_norm=1e-3),
        schedule=Constant(base_lr=1.0),
    )
    after, _ = updates(static, hyperparams, state, steps=1)
    moved = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    # A gradient cut to a norm of 0.001 moves the parameters by as much at a rate of one.
    np.testing.assert_allclose(optax.tree.norm(moved), 1e-3, rtol=1e-3)


@pytest.mark.slow
def test_each_group_is_updated_at_its_rate_times_its_multiplier():
    """Plain sgd: what a parameter moves by is its rate times its gradient, by hand."""
    schedule = CyclicLR(base_lr=[0.0, 0.1, 0.2], max_lr=[1.0, 0.5, 0.2], step_size_up=4)
    static, hyperparams, state = set_up(
        arguments=SGD | {"weight_decay": (0.0, 0.5, 0.0), "momentum": 0.0},
        schedule=schedule,
        wrappers=Wrappers.of(multiplier=(1.0, 2.0, 0.5)),
        grouped=True,
    )
    state = replace(state, step=jnp.int32(2))  # half way up
    after, (noted,) = updates(static, hyperparams, state, steps=1)
    rates = {"first": 0.5, "biases": 0.6, "default": 0.1}
    for group, rate in rates.items():
        np.testing.assert_allclose(noted[f"schedule/lr/{group}"], rate, rtol=1e-6)

    def loss(params):
        logits = MLP.apply({"params": params}, INPUTS[:8], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS[:8]).mean()

    grads, params = jax.grad(loss)(state.params), state.params
    expected = {
        "Dense_0": {k: p - 0.5 * grads["Dense_0"][k] for k, p in params["Dense_0"].items()},
        "Dense_1": {
            "kernel": params["Dense_1"]["kernel"] - 0.1 * grads["Dense_1"]["kernel"],
            "bias": params["Dense_1"]["bias"]
            - 0.6 * (grads["Dense_1"]["bias"] + 0.5 * params["Dense_1"]["bias"]),
        },
    }
    close(after.params, expected)


def test_without_groups_a_multiplier_is_a_factor_of_the_rate():
    static, hyperparams, state = set_up(
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        wrappers=Wrappers.of(multiplier=0.5),
    )
    after, (noted,) = updates(static, hyperparams, state, steps=1)
    np.testing.assert_allclose(noted["schedule/lr"], 0.05, rtol=1e-6)
    grads = gradients(state.params, 0)
    close(after.params, jax.tree.map(lambda p, g: p - 0.05 * g, state.params, grads))


def test_a_back_off_is_a_factor_of_every_rate():
    """Plain sgd by hand, after two back-offs that halve the rates."""
    static, hyperparams, state = set_up(
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        schedule=Constant(base_lr=[0.1, 0.2, 0.4]),
        grouped=True,
        backs_off=True,
    )
    state = replace(state, rate_factor=jnp.float32(0.25))
    after, (noted,) = updates(static, hyperparams, state, steps=1)
    rates = {"first": 0.025, "biases": 0.05, "default": 0.1}
    for group, rate in rates.items():
        np.testing.assert_allclose(noted[f"schedule/lr/{group}"], rate, rtol=1e-6)
    grads, params = gradients(state.params, 0)["Dense_1"], state.params["Dense_1"]
    close(after.params["Dense_1"]["kernel"], params["kernel"] - 0.1 * grads["kernel"])
    close(after.params["Dense_1"]["bias"], params["bias"] - 0.05 * grads["bias"])


def test_a_schedules_momentum_replaces_the_optimizers():
    """Heavy ball by hand, with a momentum that falls from 0.9 by 0.1 an update."""
    schedule = CyclicLR(
        base_lr=0.1,
        max_lr=0.1,
        step_size_up=4,
        cycle_momentum=True,
        base_momentum=0.5,
        max_momentum=0.9,
    )
    static, hyperparams, state = set_up(arguments=SGD | {"weight_decay": 0.0}, schedule=schedule)
    after, noted = updates(static, hyperparams, state, steps=4)
    params = state.params
    velocity = jax.tree.map(jnp.zeros_like, params)
    for i, momentum in enumerate((0.9, 0.8, 0.7, 0.6)):
        np.testing.assert_allclose(noted[i]["schedule/momentum"], momentum, rtol=1e-6)
        grads = gradients(params, i)
        velocity = jax.tree.map(lambda v, g, m=momentum: m * v + g, velocity, grads)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
    close(after.params, params)


def gradients(params, i):
    """Those of the i-th update's examples, by hand."""
    rows = (np.arange(8) + 8 * i) % len(INPUTS)

    def loss(params):
        logits = MLP.apply({"params": params}, INPUTS[rows], train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS[rows]).mean()

    return jax.grad(loss)(params)


def test_lookahead_and_average_follow_every_update():
    """Both by hand: synchronised after updates 2 and 4, with weights that double each update."""
    static, hyperparams, state = set_up(
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        wrappers=Wrappers.of(sync_period=2, slow_step_size=0.25, ema_decay=0.5),
    )
    after, _ = updates(static, hyperparams, state, steps=5)
    fast = slow = state.params
    passed = []
    for i in range(5):
        fast = jax.tree.map(lambda p, g: p - 0.1 * g, fast, gradients(fast, i))
        if i in (1, 3):
            slow = jax.tree.map(lambda s, p: 0.75 * s + 0.25 * p, slow, fast)
            fast = slow
        passed.append(fast)
    close((after.params, after.slow), (fast, slow))
    weights = np.array([1, 2, 4, 8, 16]) / 31
    average = jax.tree.map(lambda *p: np.tensordot(weights, np.stack(p), 1), *passed)
    close(after.average, average)
    assert not np.allclose(fast["Dense_1"]["kernel"], slow["Dense_1"]["kernel"], atol=1e-3)


def correct(static, state, params):
    """The number of correct predictions with ``params``, and the summed loss."""
    logits = static.model.apply({"params": params}, INPUTS, train=False)
    return int((logits.argmax(-1) == TARGETS).sum()), float(
        optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS).sum()
    )


@pytest.mark.parametrize(
    ("wrappers", "scored"),
    [
        ({}, "params"),
        ({"sync_period": 3}, "slow"),
        ({"ema_decay": 0.9}, "average"),
        ({"sync_period": 3, "ema_decay": 0.9}, "average"),
    ],
)
def test_the_parameters_that_are_evaluated(wrappers, scored):
    static, hyperparams, state = set_up(wrappers=Wrappers.of(**wrappers))
    state, _ = updates(static, hyperparams, state)
    found = scored_by(static, state)
    hits, loss = correct(static, state, getattr(state, scored))
    assert int(found["correct"]) == hits
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)
    if scored != "params":
        assert abs(correct(static, state, state.params)[1] - loss) > 1e-3


@pytest.mark.parametrize(
    ("wrappers", "scored"),
    [({}, "params"), ({"sync_period": 3}, "slow"), ({"ema_decay": 0.9}, "average")],
)
def test_frozen_parameters_are_evaluated_with_the_others(wrappers, scored):
    static, hyperparams, state = set_up(frozen=("first",), wrappers=Wrappers.of(**wrappers))
    state, _ = updates(static, hyperparams, state)
    found = scored_by(static, state)
    kept = getattr(state, scored)["Dense_1"]
    params = {"Dense_0": state.params["Dense_0"], "Dense_1": kept}
    np.testing.assert_allclose(found["loss"], correct(static, state, params)[1], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [(), ("first",)])
def test_the_parameters_that_an_optimizer_declares_are_evaluated(frozen):
    """Plain schedule-free sgd at a constant rate: the mean of all z, by hand."""
    static, hyperparams, state = set_up(
        optimizer="schedule_free_sgd",
        arguments={"b1": 0.5, "weight_decay": None, "weight_lr_power": 2.0},
        frozen=frozen,
    )
    fixed = state.params["Dense_0"] if frozen else None
    y = z = state.params
    visited = []
    for i in range(5):
        z = jax.tree.map(lambda p, g: p - 0.1 * g, z, gradients(y, i))
        if frozen:
            z = {**z, "Dense_0": fixed}
        visited.append(z)
        mean = jax.tree.map(lambda *p: sum(p) / len(p), *visited)
        y = jax.tree.map(lambda a, b: (a + b) / 2, z, mean)
    state, _ = updates(static, hyperparams, state)
    close(state.params, y)
    found = scored_by(static, state)
    np.testing.assert_allclose(found["loss"], correct(static, state, mean)[1], rtol=1e-5)
    assert abs(correct(static, state, y)[1] - found["loss"]) > 1e-3


@pytest.mark.parametrize("train_chunk", [scan_chunk, step_chunk])
def test_each_microbatch_of_a_chunk_counts_once(train_chunk):
    """A bias moves by the mean over all examples of an update; two updates at once."""
    static, hyperparams, state = set_up(
        linear(num_outputs=10),
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        schedule=Constant(base_lr=1.0),
        accumulate=3,
    )
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    inputs = jnp.zeros_like(INPUTS)  # the kernel does not move
    source, rows = Source(Examples(inputs, TARGETS)), np.arange(12).reshape(1, 12)
    start = replace(state, params=zeros)
    batches = (rows, np.int32(1)) if train_chunk is scan_chunk else (list(rows), 1)
    after, noted, *_ = train_chunk(static, start, hyperparams, source, *batches)
    shares = np.bincount(TARGETS[:12], minlength=10) / 12
    np.testing.assert_allclose(after.params["Dense_0"]["bias"], shares - 0.1, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(noted["train/loss"], [np.log(10)], rtol=1e-6)


@pytest.mark.slow
def test_augmentation_has_a_key_of_its_own_in_every_update_and_microbatch():
    static, hyperparams, state = set_up(linear(num_outputs=10), accumulate=2)
    keys = []

    class Noted(Source):
        def prepared(self, batch, key=None):
            keys.append(jax.random.key_data(key).tolist())
            return Source.prepared(self, batch, key)

    for step, microbatch in ((0, 0), (0, 1), (1, 0)):
        now = replace(state, step=jnp.int32(step))
        batch = INPUTS[:1], TARGETS[:1]
        batch_gradients(static, now, hyperparams.objective, Noted(), batch, microbatch)
        dropout = jax.random.fold_in(jax.random.fold_in(state.key, step), microbatch)
        keys.append(jax.random.key_data(dropout).tolist())
    assert len(set(map(tuple, keys))) == 6


@pytest.mark.parametrize("odd", slow_except([BOTH], [BOTH, ["params"], ["inputs"]]), ids=str)
def test_in_bfloat16_params_and_inputs_are_rounded_and_the_loss_is_not(odd):
    # Both become one, so that the ten logits are 256 and the loss log(10), which bfloat16 lacks.
    values = {"params": 1.0, "inputs": 1.0} | dict.fromkeys(odd, 1 + 2**-9)
    static, hyperparams, state = set_up(linear(num_outputs=10), compute_dtype="bfloat16")
    kernel = jnp.zeros((64, 10)).at[0, 0].set(256 * values["params"])
    params = {"Dense_0": {"kernel": kernel, "bias": jnp.full(10, 256.0).at[0].set(0)}}
    state = replace(state, params=params)
    inputs = jnp.full((4, 8, 8, 1), values["inputs"], jnp.float32)
    examples = Examples(inputs, jnp.zeros(4, jnp.int32))
    step = jax.jit(train_step, static_argnums=0, compiler_options=QUICK)
    _, metrics = step(static, state, hyperparams, RAW, examples)
    np.testing.assert_allclose(metrics["train/loss"], np.log(10), rtol=1e-5)
    found = scored_by(static, state, examples)
    np.testing.assert_allclose(found["loss"], 4 * np.log(10), rtol=1e-5)
    exact = replace(static, compute_dtype="float32")
    _, metrics = step(exact, state, hyperparams, RAW, examples)
    excess = 256 * ((1 + 2**-9) ** len(odd) - 1)
    expected = np.log(1 + 9 * np.exp(-excess))
    np.testing.assert_allclose(metrics["train/loss"], expected, rtol=1e-5)


def test_gradients_in_bfloat16_are_averaged_in_float32():
    """Ten logits of zero: the gradient of a bias is 1/10 or, for the target, -9/10, rounded."""
    static, hyperparams, state = set_up(
        linear(num_outputs=10),
        arguments=SGD | {"weight_decay": 0.0, "momentum": 0.0},
        schedule=Constant(base_lr=1.0),
        compute_dtype="bfloat16",
        accumulate=2,
    )
    state = replace(state, params=jax.tree.map(jnp.zeros_like, state.params))
    after, _ = train_step(static, state, hyperparams, RAW, (INPUTS[:2], jnp.array([3, 4])))
    tenth, rest = 0.10009765625, -0.8984375  # the nearest of 8 significant bits
    expected = np.full(10, -tenth)
    expected[[3, 4]] = -(tenth + rest) / 2  # which needs 11 bits
    np.testing.assert_allclose(after.params["Dense_0"]["bias"], expected, rtol=1e-6)


@pytest.mark.slow
def test_only_the_model_computes_in_bfloat16():
    """The gradient is that of a bfloat16 model by hand; the state and the metrics are float32."""
    plain = SGD | {"weight_decay": 0.0, "momentum": 0.0}
    static, hyperparams, state = set_up(arguments=plain, compute_dtype="bfloat16")
    after, (noted,) = updates(static, hyperparams, state, steps=1)

    def loss(params):
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        x = INPUTS[:8].astype(jnp.bfloat16).reshape(8, -1)
        x = jax.nn.relu(x @ low["Dense_0"]["kernel"] + low["Dense_0"]["bias"])
        assert x.dtype == jnp.bfloat16
        logits = (x @ low["Dense_1"]["kernel"] + low["Dense_1"]["bias"]).astype(jnp.float32)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), TARGETS[:8, None], 1).mean()

    grads = jax.jit(jax.grad(loss))(state.params)
    close(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads), 1e-3, 1e-3)
    whole, _ = updates(replace(static, compute_dtype="float32"), hyperparams, state, steps=1)
    assert not np.array_equal(whole.params["Dense_0"]["kernel"], after.params["Dense_0"]["kernel"])
    kinds = {leaf.dtype for leaf in jax.tree.leaves((after.params, after.opt_state, noted))}
    assert kinds <= {np.dtype("float32"), np.dtype("int32")}


@pytest.mark.slow
@pytest.mark.parametrize("model", [Noisy(), Watched()])
def test_running_statistics_stay_in_float32(model):
    static, hyperparams, state = set_up(model, compute_dtype="bfloat16")
    after, _ = updates(static, hyperparams, state, steps=2)
    before = jax.tree.map(lambda leaf: leaf.dtype, state.model_state)
    assert jax.tree.map(lambda leaf: leaf.dtype, after.model_state) == before


@pytest.mark.slow
@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
def test_lanes_equal_separate_runs(compute_dtype):
    """Under vmap, with groups, clipping, lookahead, average and accumulation."""

    def lane(i):
        schedule = CyclicLR(
            base_lr=[0.01, 0.02, 0.03],
            max_lr=[0.1 + i, 0.2, 0.3],
            step_size_up=2 + i,
            mode=("triangular", "triangular2", "exp_range")[i],
            gamma=0.9,
            cycle_momentum=True,
        )
        decay = (0.0, 0.1 * i, 0.2)
        _, own = split("sgd", SGD | {"weight_decay": decay})
        return Hyperparams(
            schedule,
            own,
            Wrappers.of(
                multiplier=(1.0, 0.5, 1.0 + i),
                clip_norm=0.5 + i,
                clip_value=0.1,
                sync_period=2 + i,
                ema_decay=0.9 - 0.1 * i,
            ),
            OBJECTIVE,
        )

    lanes_hyperparams = [lane(i) for i in range(3)]
    static, _, state = set_up(
        arguments=SGD | {"weight_decay": (0.0, 0.1, 0.2)},
        wrappers=lanes_hyperparams[0].wrappers,
        schedule=lanes_hyperparams[0].schedule,
        grouped=True,
        accumulate=2,
        compute_dtype=compute_dtype,
    )
    lanes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes_hyperparams)

    rows = jnp.arange(24).reshape(3, 8)

    def three(hyperparams):
        def body(now, row):
            return train_step(static, now, hyperparams, RAW, (INPUTS[row], TARGETS[row]))

        now, metrics = jax.lax.scan(body, state, rows)
        return now.params, now.average, metrics

    together = jax.jit(jax.vmap(three), compiler_options=QUICK)(lanes)
    tolerance = 1e-4 if compute_dtype == "float32" else 2e-2
    solo = jax.jit(three, compiler_options=QUICK)
    for i, hyperparams in enumerate(lanes_hyperparams):
        alone = solo(hyperparams)
        close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone, tolerance, tolerance)


OPTIMIZERS = [(n, t) for n in sorted(optimizers.names()) for t in ("float32", "bfloat16")]
# Both dtypes.
SAMPLE = [
    ("sgd", "float32"),
    ("adam", "bfloat16"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", slow_except(SAMPLE, OPTIMIZERS), ids="-".join)
def test_every_optimizer_works_under_jit_vmap_and_scan(case):
    """Two lanes of four updates, a group frozen and a group of its own rate, equal each alone."""
    name, compute_dtype = case
    arguments = dict(configure(f"optimizer={name}").optimizer.settings)

    def lane(rate):
        schedule = Constant(base_lr=[0.0, rate, rate / 2])
        wrappers = Wrappers.of(clip_norm=1.0, sync_period=3, ema_decay=0.9)
        return Hyperparams(schedule, split(name, arguments)[1], wrappers, OBJECTIVE)

    lanes_hyperparams = [lane(0.02), lane(0.001)]
    static, _, start = set_up(
        optimizer=name,
        arguments=arguments,
        schedule=lanes_hyperparams[0].schedule,
        wrappers=lanes_hyperparams[0].wrappers,
        frozen=("first",),
        compute_dtype=compute_dtype,
    )
    rows = jnp.arange(24).reshape(4, 6)

    def four(hyperparams):
        def body(state, row):
            return train_step(static, state, hyperparams, RAW, (INPUTS[row], TARGETS[row]))

        state, metrics = jax.lax.scan(body, start, rows)
        return state.params, state.average, metrics

    lanes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes_hyperparams)
    together = jax.jit(jax.vmap(four), compiler_options=QUICK)(lanes)
    alone = list(map(jax.jit(four, compiler_options=QUICK), lanes_hyperparams))
    tolerance = 1e-4 if compute_dtype == "float32" else 1e-2
    for i, own in enumerate(alone):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], together), own, tolerance, tolerance)
    moved = [
        jnp.abs(params["Dense_1"]["kernel"] - start.params["Dense_1"]["kernel"]).max()
        for params, _, _ in alone
    ]
    assert moved[0] > 2 * moved[1] > 0
    for params, _, _ in alone:
        for key, param in start.params["Dense_0"].items():
            assert np.asarray(params["Dense_0"][key]).tobytes() == np.asarray(param).tobytes()


def test_only_floating_point_arrays_are_in_the_compute_dtype():
    static, _, _ = set_up(compute_dtype="bfloat16")
    tree = {"weight": jnp.float32(0.5), "token": jnp.int32(257), "mask": jnp.array(True)}
    cast = in_compute_dtype(static, tree)
    dtypes = {key: leaf.dtype for key, leaf in cast.items()}
    assert dtypes == {"weight": jnp.bfloat16, "token": jnp.int32, "mask": jnp.bool_}
    assert int(cast["token"]) == 257  # which bfloat16 lacks
    assert in_compute_dtype(replace(static, compute_dtype="float32"), tree) is tree


def test_evaluation_uses_running_statistics_and_no_dropout():
    static, hyperparams, start = set_up(Noisy())
    state, _ = updates(static, hyperparams, start, steps=3)
    found = scored_by(static, state)

    def loss(model_state):
        logits = Noisy().apply({"params": state.params, **model_state}, INPUTS, train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS).sum()

    np.testing.assert_allclose(found["loss"], loss(state.model_state), rtol=1e-5)
    assert abs(loss(start.model_state) - found["loss"]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrappers", [{"ema_decay": 0.5}, {"sync_period": 2, "slow_step_size": 0.25}]
)
def test_running_statistics_are_averaged_like_the_parameters(wrappers):
    static, hyperparams, state = set_up(Still(), wrappers=Wrappers.of(**wrappers))
    step = jax.jit(train_step, static_argnums=0, compiler_options=QUICK)
    slow = means = state.model_state["batch_stats"]["BatchNorm_0"]["mean"]
    total, weight = jnp.zeros_like(means), 0.0
    for i in range(5):
        inputs = INPUTS[:8] + i  # so that the statistics move
        state, _ = step(static, state, hyperparams, RAW, (inputs, TARGETS[:8]))
        means = state.model_state["batch_stats"]["BatchNorm_0"]["mean"]
        total, weight = 0.5 * total + means, 0.5 * weight + 1
        slow = slow + 0.25 * (means - slow) if i % 2 else slow
    found = evaluated_variables(static, state)["batch_stats"]["BatchNorm_0"]["mean"]
    expected = total / weight if "ema_decay" in wrappers else slow
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.abs(found - means).max() > 1e-4  # not the raw ones


class Counting(nn.Module):
    """A linear classifier that counts its batches."""

    @nn.compact
    def __call__(self, x, *, train):
        seen = self.variable("counters", "batches", jnp.zeros, (), jnp.int32)
        if train:
            seen.value = seen.value + 1
        return nn.Dense(10)(x.reshape(len(x), -1))


@pytest.mark.parametrize("wrappers", [{"ema_decay": 0.5}, {"sync_period": 2}])
def test_counts_in_a_model_state_are_not_averaged(wrappers):
    static, hyperparams, start = set_up(Counting(), wrappers=Wrappers.of(**wrappers))
    state, _ = updates(static, hyperparams, start, steps=3)
    found = evaluated_variables(static, state)["counters"]["batches"]
    assert (int(found), found.dtype) == (3, jnp.int32)


def test_an_optimizer_without_momentum_ignores_that_of_a_schedule():
    found = []
    for cycle_momentum in (False, True):
        bounds = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2}
        static, hyperparams, state = set_up(
            optimizer="adagrad",
            arguments={"initial_accumulator_value": 0.1, "eps": 1e-7},
            schedule=CyclicLR(**bounds, cycle_momentum=cycle_momentum),
        )
        found.append(updates(static, hyperparams, state, steps=2)[0].params)
    jax.tree.map(np.testing.assert_array_equal, *found)
