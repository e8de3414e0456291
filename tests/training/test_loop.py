"""The loop against one written by hand, and its laws: chunks, dispatch and feed change nothing."""

from collections import deque
from functools import partial
from itertools import chain
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling import slow_except

from runner.data import order
from runner.data.dataset import Dataset, Split
from runner.data.feed import Feed, choose_placement
from runner.errors import DivergedError
from runner.experiment.build import compiled_init, may_loop
from runner.models.cnn import cnn
from runner.models.mlp import linear, mlp
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, split
from runner.schedules import CyclicLR
from runner.training import loop
from runner.training.listener import Listener
from runner.training.loop import chunk_capacity, train
from runner.training.plan import Plan
from runner.training.state import Hyperparams, Static

SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
OBJECTIVE = Classification(targets=Targets(num_classes=10))
EXAMPLE = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)


class Notes(Listener):
    """A listener that keeps what it receives, on the host."""

    steps_per_second = None

    def __init__(self):
        self.metrics, self.evaluations, self.chunks = {}, {}, []

    def chunk(self, start, length, metrics):
        self.chunks.append((start, length))
        for tag, values in metrics.items():
            self.metrics.setdefault(tag, []).extend(np.asarray(values)[:length].tolist())

    def evaluation(self, step, metrics):
        self.evaluations[step] = {t: float(v) for t, v in metrics.items() if not v.ndim}

    def wants_state(self, step, *, evaluated):
        return False

    def raise_failure(self): ...


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)

    def examples(n):
        inputs = random.integers(0, 17, (n, 8, 8, 1)).astype(np.uint8)
        return Split(inputs, random.integers(0, 10, n).astype(np.int32))

    return Dataset(examples(203), examples(1500), num_classes=10, mean=8.0, std=4.0)


def fit(
    dataset,
    *,
    steps=50,
    start=None,
    model=None,
    optimizer="sgd",
    arguments=SGD,
    max_lr=0.05,
    seed=3,
    batch_size=20,
    dispatch="scan",
    placement="device",
    should_stop=lambda: False,
    **lengths,
):
    device = jax.devices()[0]
    model = mlp(hidden=[16], num_outputs=10) if model is None else model
    schedule = CyclicLR(base_lr=0.01, max_lr=max_lr, step_size_up=7, step_size_down=4)
    chosen, values = split(optimizer, arguments)
    hyperparams = Hyperparams(schedule, values, Wrappers.of(), OBJECTIVE)
    static = Static(model, chosen)
    feed = Feed(dataset, batch_size=batch_size, seed=seed, placement=placement, device=device)
    state = start or initial_state(static, hyperparams, seed)
    notes = Notes()
    plan = Plan(
        **{"steps": steps, "eval_every": None, "chunk": "auto", **lengths}, dispatch=dispatch
    )
    trained = train(
        static, state, hyperparams, feed, plan=plan, listener=notes, should_stop=should_stop
    )
    return last([state], trained), notes


def last(*iterables):
    """The last item of all."""
    (item,) = deque(chain(*iterables), maxlen=1)
    return item


def initial_state(static, hyperparams, seed):
    inputs = np.zeros(EXAMPLE.shape, np.float32)
    return compiled_init(static, hyperparams, seed=np.uint32(seed), inputs=inputs)


def same_bytes(one, other):
    flat = [jax.tree.leaves((state.params, state.opt_state, state.step)) for state in (one, other)]
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(*flat, strict=True)
    )


def by_hand(dataset, *, steps, params, max_lr):
    """A plain loop with one dispatch per update and the rate from the formula in Python floats."""

    def loss_fn(params, x, y):
        x = x.reshape(len(x), -1)
        x = jax.nn.relu(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
        logits = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    @jax.jit
    def update(params, velocity, rate, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
        return jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity, loss

    velocity = jax.tree.map(jnp.zeros_like, params)
    rates, losses = [], []
    for step in range(steps):
        r = step % 11
        rate = 0.01 + (max_lr - 0.01) * (r / 7 if r <= 7 else (11 - r) / 4)
        row = order.epoch_order(3, step // 10, 203)[step % 10 * 20 :][:20]
        x = (dataset.train.inputs[row].astype(np.float32) - 8) / 4
        params, velocity, loss = update(params, velocity, rate, x, dataset.train.targets[row])
        rates.append(rate)
        losses.append(float(loss))
    return params, rates, losses


def test_training_equals_a_loop_written_by_hand(dataset):
    params = initial_params()
    params, rates, losses = by_hand(dataset, steps=50, params=params, max_lr=0.05)
    state, notes = fit(dataset, steps=50)
    np.testing.assert_allclose(notes.metrics["schedule/lr"], rates, rtol=5e-7)
    np.testing.assert_allclose(notes.metrics["train/loss"], losses, rtol=2e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), state.params, params
    )
    assert int(state.step) == 50


def initial_params():
    chosen, values = split("sgd", SGD)
    schedule = CyclicLR(base_lr=0.01, max_lr=0.05, step_size_up=7, step_size_down=4)
    static = Static(mlp(hidden=[16], num_outputs=10), chosen)
    return initial_state(static, Hyperparams(schedule, values, Wrappers.of(), OBJECTIVE), 3).params


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_the_length_of_a_chunk_changes_nothing(dataset, chunk):
    one, noted = fit(dataset, chunk="auto", eval_every=20)
    other, others = fit(dataset, chunk=chunk, eval_every=20)
    assert same_bytes(one, other)
    assert noted.metrics == others.metrics
    assert noted.evaluations == others.evaluations
    assert list(noted.evaluations) == [20, 40, 50]


def test_resuming_equals_never_having_stopped(dataset):
    whole, _ = fit(dataset, steps=50)
    part, _ = fit(dataset, steps=23)
    resumed, _ = fit(dataset, steps=50, start=part)
    assert same_bytes(whole, resumed)


@pytest.mark.parametrize(
    "model",
    [
        linear(num_outputs=10),
        pytest.param(mlp(hidden=[16], num_outputs=10), marks=pytest.mark.slow),
    ],
)
def test_one_dispatch_per_chunk_equals_one_per_step(dataset, model):
    one, noted = fit(dataset, model=model, dispatch="scan")
    other, others = fit(dataset, model=model, dispatch="step")
    assert same_bytes(one, other)
    assert noted.metrics == others.metrics


@pytest.mark.parametrize("dispatch", slow_except(["scan"], ["scan", "step"]))
@pytest.mark.parametrize("placement", ["host", "stream"])
def test_feeding_from_the_host_equals_a_resident_data_set(dataset, placement, dispatch):
    one, noted = fit(dataset, placement="device", eval_every=30, dispatch=dispatch)
    other, others = fit(dataset, placement=placement, eval_every=30, dispatch=dispatch)
    assert same_bytes(one, other)
    assert noted.metrics == others.metrics
    assert noted.evaluations == others.evaluations


def test_equal_seeds_give_equal_runs_and_other_seeds_do_not(dataset):
    assert same_bytes(fit(dataset)[0], fit(dataset)[0])
    assert not same_bytes(fit(dataset)[0], fit(dataset, seed=4)[0])


def test_evaluation_is_the_exact_mean_over_a_split_of_odd_length(dataset):
    state, notes = fit(dataset, model=linear(num_outputs=10))
    kernel, bias = (
        np.asarray(state.params["Dense_0"][name], np.float64) for name in ("kernel", "bias")
    )
    inputs = (dataset.test.inputs.reshape(1500, 64).astype(np.float64) - 8) / 4
    logits = inputs @ kernel + bias
    picked = logits[np.arange(1500), dataset.test.targets]
    loss = (np.log(np.exp(logits).sum(1)) - picked).mean()
    assert notes.evaluations[50]["eval/loss"] == pytest.approx(loss, rel=1e-5)
    accuracy = (logits.argmax(1) == dataset.test.targets).mean()
    assert notes.evaluations[50]["eval/accuracy"] == pytest.approx(accuracy, abs=1e-7)


def test_runs_that_differ_in_hyperparams_share_one_compilation(dataset, compilations):
    model = linear(num_outputs=10)
    before = compilations()
    fit(dataset, model=model, optimizer="adam", arguments={"b1": 0.9, "b2": 0.99, "eps": 1e-8})
    first = compilations()
    assert first > before
    fit(
        dataset,
        model=model,
        optimizer="adam",
        arguments={"b1": 0.8, "b2": 0.999, "eps": 1e-7},
        max_lr=0.3,
        seed=9,
        steps=31,
        chunk=9,
    )
    assert compilations() == first


def test_a_convolution_on_the_cpu_is_kept_out_of_the_while_loop():
    key = jax.random.key(0)
    network, plain = cnn(features=[4], dense=8, num_outputs=10), mlp(hidden=[4], num_outputs=10)
    convolves = jax.make_jaxpr(partial(network.init, train=False))(key, EXAMPLE).jaxpr
    multiplies = jax.make_jaxpr(partial(plain.init, train=False))(key, EXAMPLE).jaxpr
    assert not may_loop(convolves, "cpu")
    assert may_loop(convolves, "gpu")
    assert may_loop(multiplies, "cpu")


def test_a_data_set_too_large_for_the_device_stays_on_the_host(dataset):
    class Small:
        def __init__(self, limit):
            self.limit = limit

        def memory_stats(self):
            return None if self.limit is None else {"bytes_limit": self.limit}

    size = (203 + 1500) * (64 + 4)
    assert choose_placement(dataset, Small(None)) == "device"
    assert choose_placement(dataset, Small(size * 10)) == "device"
    assert choose_placement(dataset, Small(size * 2)) == "stream"


def test_chunks_end_where_an_evaluation_is_due_and_grow_with_the_speed():
    plan = Plan(steps=1000, eval_every=300, chunk="auto", dispatch="scan")

    def count(step, speed):
        return plan.chunk_length(step, capacity=1024, steps_per_second=speed)

    assert count(0, None) == 32
    assert count(32, 500.0) == 100
    assert count(32, 1e6) == 268
    assert count(299, 1e6) == 1
    assert count(900, 1e6) == 100
    assert count(32, 0.1) == 1


def test_a_failure_that_the_listener_raises_ends_training_after_its_chunk(dataset, monkeypatch):
    def fail_after_two_chunks(notes):
        chunks.append(notes.chunks[-1])
        if len(chunks) == 2:
            raise DivergedError("train/loss", "nan", "lower it")

    chunks = []
    monkeypatch.setattr(Notes, "raise_failure", fail_after_two_chunks)
    with pytest.raises(DivergedError):
        fit(dataset, steps=50, chunk=10)
    assert chunks == [(0, 10), (10, 10)]


@pytest.mark.parametrize(
    ("batch_bytes", "capacity"),
    [(2**40, 1), (2**25 + 1, 1), (2**25, 1), (10 * 2**20, 3), (2**15 + 1, 1023), (4, 1024)],
)
def test_a_chunk_takes_at_most_32_mib_and_has_1_to_1024_batches(batch_bytes, capacity):
    assert chunk_capacity(SimpleNamespace(batch_bytes=lambda: batch_bytes)) == capacity


def test_a_chunk_of_several_lanes_takes_at_most_32_mib_in_all():
    feeds = [SimpleNamespace(batch_bytes=lambda mib=mib: mib * 2**20) for mib in (1, 2, 5)]
    assert chunk_capacity(*feeds) == 4


def test_training_stops_after_the_chunk_in_which_it_is_told_to(dataset):
    told = iter([False, False, True])
    state, notes = fit(dataset, steps=50, chunk=10, should_stop=lambda: next(told))
    assert notes.chunks == [(0, 10), (10, 10)]
    assert int(state.step) == 20
    assert notes.evaluations == {}


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", ["scan", "step"])
def test_each_dispatch_has_its_own_program(dataset, monkeypatch, dispatch):
    called = set()

    def noted(name, train_chunk):
        def call(*arguments):
            called.add(name)
            return train_chunk(*arguments)

        return call

    for name in ("scan", "step"):
        train_chunk = getattr(loop, f"{name}_chunk")
        monkeypatch.setattr(loop, f"{name}_chunk", noted(name, train_chunk))
    fit(dataset, steps=2, dispatch=dispatch)
    assert called == {dispatch}


def test_a_chunk_is_no_longer_than_the_capacity_of_its_program():
    plan = Plan(steps=1000, eval_every=300, chunk=64, dispatch="scan")
    lengths = [plan.chunk_length(step, capacity=10, steps_per_second=1e6) for step in (0, 295, 998)]
    assert lengths == [10, 5, 2]
