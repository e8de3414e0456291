"""Lanes against ``loop.train`` by itself, and their law: no lane affects another."""

import os
import threading
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easy_images import easy_images
from sampling import slow_except

from runner.config import Ranking
from runner.data.dataset import Dataset
from runner.data.feed import Feed
from runner.data.order import batch_indices
from runner.errors import DivergedError
from runner.experiment.build import compiled_init
from runner.models.cnn import cnn
from runner.models.mlp import mlp
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, split
from runner.schedules import CyclicLR, ReduceOnPlateau
from runner.schedules.plateau import Plateau
from runner.training import loop, vmapped
from runner.training.lanes import Lane, _cores, choose_lane_mode, train_lanes
from runner.training.listener import Listener
from runner.training.plan import Plan
from runner.training.state import Hyperparams, Static

MLP, CNN = mlp(hidden=[16], num_outputs=10), cnn(features=[4], dense=8, num_outputs=10)
OPTIMIZER, _ = split("sgd", {"momentum": 0.9, "nesterov": False, "weight_decay": None})
OBJECTIVE = Classification(targets=Targets(num_classes=10))
MODES = ("threads", "vmap")
# Float32 sums in another order, over some 40 updates at moderate rates.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


class Notes(Listener):
    """A listener that keeps what it receives, and fails after a chunk whose loss is not finite."""

    steps_per_second = None

    def __init__(self):
        self.metrics, self.evaluations, self.states, self.failure = {}, {}, {}, None

    def chunk(self, start, length, metrics):
        for tag, values in metrics.items():
            self.metrics.setdefault(tag, []).extend(np.asarray(values)[:length].tolist())
        if not np.isfinite(self.metrics["train/loss"]).all():
            self.failure = DivergedError("train/loss", "nan", "lower the rate")

    def evaluation(self, step, metrics):
        self.evaluations[step] = {t: float(v) for t, v in metrics.items() if not v.ndim}

    def wants_state(self, step, *, evaluated):
        return evaluated

    def state(self, step, state):
        self.states[step] = state

    def raise_failure(self):
        if self.failure is not None:
            raise self.failure


@pytest.fixture(scope="module")
def dataset():
    examples = partial(easy_images, np.random.default_rng(0))
    return Dataset(examples(203), examples(1100), num_classes=10, mean=4.0, std=3.0)


@pytest.fixture
def feed(dataset):
    return Feed(dataset, batch_size=20, seed=0, placement="device", device=jax.devices()[0])


def lane(
    feed,
    *,
    seed,
    max_lr=0.05,
    model=MLP,
    schedule=None,
    steps=40,
    eval_every=None,
    dispatch="scan",
    patience=None,
    ema_decay=None,
    should_stop=lambda: False,
    **plan,
):
    """A lane that has no buffer in common with others, and a listener of its own."""
    schedule = schedule or CyclicLR(base_lr=0.01, max_lr=max_lr, step_size_up=7, step_size_down=4)
    values = {"momentum": np.float32(0.9)}
    waits = None
    if patience is not None:
        waits = Plateau(patience=patience, threshold=0.0, is_relative=False)
    wrappers = Wrappers.of(ema_decay=ema_decay)
    hyperparams = Hyperparams(schedule, values, wrappers, OBJECTIVE, waits)
    inputs = np.zeros((1, 8, 8, 1), np.float32)
    state = compiled_init(
        Static(model, OPTIMIZER), hyperparams, seed=np.uint32(seed), inputs=inputs
    )
    return Lane(
        jax.device_put(state, jax.devices()[0]),
        hyperparams,
        feed.reseeded(seed),
        Plan(steps=steps, eval_every=eval_every, chunk=8, dispatch=dispatch, **plan),
        Notes(),
        should_stop,
    )


def alone(lane, model=MLP):
    """The last state that ``loop.train`` yields."""
    *_, state = loop.train(
        Static(model, OPTIMIZER),
        lane.state,
        lane.hyperparams,
        lane.feed,
        plan=lane.plan,
        listener=lane.listener,
        should_stop=lane.should_stop,
    )
    return state


def leaves(state):
    """All arrays of a state by path, keys as their words."""
    words = lambda leaf: jax.random.key_data(leaf) if leaf.dtype == state.key.dtype else leaf  # noqa: E731
    flat = jax.tree.flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): np.asarray(words(leaf)) for path, leaf in flat}


def assert_same_bytes(one, other):
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    assert [path for path in one if one[path].tobytes() != other[path].tobytes()] == []


def assert_close(one, other):
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_allclose(value, other[path], **ROUNDING, err_msg=path)


def assert_equal_notes(one, other):
    """Both listeners received the same, to the bit."""
    assert one.metrics == other.metrics
    assert one.evaluations == other.evaluations
    assert one.states.keys() == other.states.keys()
    for step in one.states:
        assert_same_bytes(one.states[step], other.states[step])


def assert_close_notes(one, other):
    assert one.metrics.keys() == other.metrics.keys()
    for tag, values in one.metrics.items():
        np.testing.assert_allclose(values, other.metrics[tag], **ROUNDING, err_msg=tag)
    assert one.evaluations.keys() == other.evaluations.keys()
    for step, metrics in one.evaluations.items():
        assert metrics == pytest.approx(other.evaluations[step], rel=1e-4)
    assert one.states.keys() == other.states.keys()
    for step in one.states:
        assert_close(one.states[step], other.states[step])


def different_lanes(feed):
    """Lanes that differ in all they may: order, hyperparameters, length, evaluations."""
    return [
        lane(feed, seed=1, eval_every=10),
        lane(feed, seed=2, max_lr=0.2, steps=25, scores_test=False),
        lane(feed, seed=1, max_lr=0.011, steps=33, eval_every=7, evaluated_ends=(11, 22)),
    ]


def test_a_lane_in_a_thread_equals_its_solo_run_to_the_bit(feed):
    lanes, solo = different_lanes(feed), different_lanes(feed)
    ends = train_lanes(Static(MLP, OPTIMIZER), lanes, mode="threads")
    for end, lane, single in zip(ends, lanes, solo, strict=True):
        assert_same_bytes(end.state, alone(single))
        assert_equal_notes(lane.listener, single.listener)
        assert end.failure is None


@pytest.mark.slow
def test_a_lane_with_convolutions_in_a_thread_equals_its_solo_run_to_the_bit(feed):
    def lanes():
        return [lane(feed, seed=seed, model=CNN, steps=9, dispatch="step") for seed in (1, 2, 3)]

    several, solo = lanes(), lanes()
    ends = train_lanes(Static(CNN, OPTIMIZER), several, mode="threads")
    for end, together, single in zip(ends, several, solo, strict=True):
        assert_same_bytes(end.state, alone(single, CNN))
        assert_equal_notes(together.listener, single.listener)


def test_a_vmapped_lane_equals_its_solo_run_to_rounding(feed):
    lanes, solo = different_lanes(feed), different_lanes(feed)
    ends = train_lanes(Static(MLP, OPTIMIZER), lanes, mode="vmap")
    for end, lane, single in zip(ends, lanes, solo, strict=True):
        assert_close(end.state, alone(single))
        assert_close_notes(lane.listener, single.listener)
        assert end.failure is None


@pytest.mark.parametrize("mode", MODES)
def test_the_test_split_is_scored_at_the_end_of_a_lane_whose_plan_asks_for_it(feed, mode):
    lanes = different_lanes(feed)
    train_lanes(Static(MLP, OPTIMIZER), lanes, mode=mode)
    scored = [
        [step for step, found in lane.listener.evaluations.items() if "test/loss" in found]
        for lane in lanes
    ]
    assert scored == [[40], [], [33]]
    assert list(lanes[2].listener.evaluations) == [7, 11, 14, 21, 22, 28, 33]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_lane_that_goes_on_is_not_scored_on_the_test_split_where_another_ends(feed, mode):
    lanes = [lane(feed, seed=seed, steps=steps, eval_every=4) for seed, steps in ((1, 4), (2, 8))]
    train_lanes(Static(MLP, OPTIMIZER), lanes, mode=mode)
    scored = [
        {step: "test/loss" in found for step, found in lane.listener.evaluations.items()}
        for lane in lanes
    ]
    assert scored == [{4: True}, {4: False, 8: True}]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_lane_is_evaluated_with_the_average_of_its_parameters(feed, mode):
    def lanes(**settings):
        return [lane(feed, seed=seed, steps=8, **settings) for seed in (1, 2)]

    averaged, solo, raw = lanes(ema_decay=0.9), lanes(ema_decay=0.9), lanes()
    static = Static(MLP, OPTIMIZER)
    train_lanes(static, averaged, mode=mode)
    train_lanes(static, raw, mode=mode)
    for together, single, other in zip(averaged, solo, raw, strict=True):
        alone(single)
        found = together.listener.evaluations[8]
        assert found == pytest.approx(single.listener.evaluations[8], rel=1e-4)
        assert found["eval/loss"] != pytest.approx(other.listener.evaluations[8]["eval/loss"], 1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_a_lane_that_diverges_changes_no_other_to_the_bit(feed, mode):
    """It stays as it was after the chunk in which it diverged."""

    def lanes(max_lr):
        return [lane(feed, seed=1), lane(feed, seed=2, max_lr=max_lr), lane(feed, seed=3)]

    with_failure, without = lanes(1e30), lanes(0.05)
    static = Static(MLP, OPTIMIZER)
    ends = train_lanes(static, with_failure, mode=mode)
    others = train_lanes(static, without, mode=mode)
    for index in (0, 2):
        assert_same_bytes(ends[index].state, others[index].state)
        assert_equal_notes(with_failure[index].listener, without[index].listener)
    assert isinstance(ends[1].failure, DivergedError)
    assert [end.failure for end in (ends[0], ends[2], *others)] == [None] * 5
    assert int(ends[1].state.step) == 8
    assert len(with_failure[1].listener.metrics["train/loss"]) == 8


@pytest.mark.parametrize("mode", MODES)
def test_a_lane_that_is_stopped_stays_as_it_is_and_changes_no_other(feed, mode):
    told = iter([False, False, True])

    def lanes(**settings):
        return [lane(feed, seed=1), lane(feed, seed=2, **settings), lane(feed, seed=3)]

    stopped, shorter, whole = lanes(should_stop=lambda: next(told)), lanes(steps=16), lanes()
    static = Static(MLP, OPTIMIZER)
    ends = train_lanes(static, stopped, mode=mode)
    short_ends = train_lanes(static, shorter, mode=mode)
    whole_ends = train_lanes(static, whole, mode=mode)
    assert [int(end.state.step) for end in ends] == [40, 16, 40]
    assert stopped[1].listener.evaluations == {}
    for end, other in zip(ends, short_ends, strict=True):
        assert_same_bytes(end.state, other.state)
    for index in (0, 2):
        assert_same_bytes(ends[index].state, whole_ends[index].state)


@pytest.mark.parametrize("mode", MODES)
def test_a_lane_goes_on_from_the_state_it_is_given(feed, mode):
    static = Static(MLP, OPTIMIZER)

    def lanes(**settings):
        return [lane(feed, seed=1, **settings), lane(feed, seed=2), lane(feed, seed=3, **settings)]

    whole = train_lanes(static, lanes(), mode=mode)
    begun = lanes(steps=13)
    part = train_lanes(static, begun, mode=mode)
    rest = lanes()
    # Two lanes at step 13, and one that is over from the start.
    resumed = [replace(new, state=end.state) for end, new in zip(part, rest, strict=True)]
    for end, other in zip(train_lanes(static, resumed, mode=mode), whole, strict=True):
        assert_same_bytes(end.state, other.state)
    assert rest[1].listener.metrics == {}


@pytest.mark.parametrize("mode", MODES)
def test_lanes_may_go_on_from_different_steps(feed, mode):
    static = Static(MLP, OPTIMIZER)
    whole = train_lanes(static, [lane(feed, seed=1), lane(feed, seed=2)], mode=mode)
    begun, _ = train_lanes(
        static, [lane(feed, seed=1, steps=13), lane(feed, seed=2, steps=1)], mode=mode
    )
    lanes = [replace(lane(feed, seed=1), state=begun.state), lane(feed, seed=2)]
    for end, other in zip(train_lanes(static, lanes, mode=mode), whole, strict=True):
        assert_same_bytes(end.state, other.state)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_early_stopping_ends_the_lane_that_it_ends_alone(feed, mode):
    def lanes():
        return [
            lane(feed, seed=seed, max_lr=max_lr, steps=60, eval_every=5, patience=1)
            for seed, max_lr in ((1, 0.05), (2, 2.0), (3, 0.01001))
        ]

    several, solo = lanes(), lanes()
    ends = train_lanes(Static(MLP, OPTIMIZER), several, mode=mode)
    steps = [int(alone(single).step) for single in solo]
    assert [int(end.state.step) for end in ends] == steps
    assert min(steps) < 60
    for together, single in zip(several, solo, strict=True):
        assert list(together.listener.evaluations) == list(single.listener.evaluations)
        assert "test/loss" in together.listener.evaluations[max(together.listener.evaluations)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_reduced_rate_follows_from_the_lanes_own_evaluations(feed, mode):
    def lanes():
        schedules = [
            ReduceOnPlateau(base_lr=rate, factor=0.5, patience=0) for rate in (0.02, 1.0, 1e-30)
        ]
        return [
            lane(feed, seed=1, schedule=schedule, eval_every=4 + 2 * number)
            for number, schedule in enumerate(schedules)
        ]

    several, solo = lanes(), lanes()
    train_lanes(Static(MLP, OPTIMIZER), several, mode=mode)
    for together, single in zip(several, solo, strict=True):
        alone(single)
        assert together.listener.metrics["schedule/lr"] == single.listener.metrics["schedule/lr"]
    assert several[2].listener.metrics["schedule/lr"][-1] == pytest.approx(1e-30 / 2**3)


@pytest.mark.slow
@pytest.mark.parametrize("placement", slow_except(["stream"], ["host", "stream"]))
def test_vmapped_lanes_may_be_fed_from_the_host(dataset, feed, placement):
    outside = Feed(dataset, batch_size=20, seed=0, placement=placement, device=jax.devices()[0])
    static = Static(MLP, OPTIMIZER)
    lanes = [lane(outside, seed=seed, steps=20 - seed, eval_every=9) for seed in (1, 2, 3)]
    resident = [lane(feed, seed=seed, steps=20 - seed, eval_every=9) for seed in (1, 2, 3)]
    ends = train_lanes(static, lanes, mode="vmap")
    others = train_lanes(static, resident, mode="vmap")
    for each in lanes:
        each.feed.close()
    for end, other in zip(ends, others, strict=True):
        assert_close(end.state, other.state)


def test_a_feed_with_another_seed_has_its_order_and_shares_what_is_on_the_device(feed):
    other = feed.reseeded(7)
    expected = batch_indices(seed=7, first_step=8, count=4, batch_size=20, n=203)
    np.testing.assert_array_equal(other.batches(8, 4, capacity=4), expected)
    assert not np.array_equal(feed.batches(8, 4, capacity=4), expected)
    for split_name in ("train", "validation", "test"):
        assert other.source(split_name) is feed.source(split_name)
    one, two = ([batch for batch, _ in each.split_batches("test")] for each in (feed, other))
    assert all(a is b for a, b in zip(one, two, strict=True))
    assert (feed.seed, other.seed) == (0, 7)


@pytest.mark.parametrize("mode", MODES)
def test_each_lane_has_the_order_of_its_solo_run(feed, mode, monkeypatch):
    """Batches as the feeds hand them out, by seed; the default seed 0 of the feed is not used."""
    seen = {}
    original = Feed.host_batches

    def noted(self, first_step, count, *, capacity):
        batches = original(self, first_step, count, capacity=capacity)
        seen.setdefault(self.seed, []).append(batches[:count])
        return batches

    monkeypatch.setattr(Feed, "host_batches", noted)
    lanes = [lane(feed, seed=seed, steps=25) for seed in (5, 6, 7)]
    train_lanes(Static(MLP, OPTIMIZER), lanes, mode=mode)
    assert sorted(seen) == [5, 6, 7]
    for seed, batches in seen.items():
        expected = batch_indices(seed=seed, first_step=0, count=25, batch_size=20, n=203)
        np.testing.assert_array_equal(np.concatenate(batches), expected)


@pytest.mark.slow
def test_lanes_in_threads_compile_what_one_run_compiles(feed, compilations):
    """All start at once: one of them compiles, and the others wait for it."""
    alone(lane(feed, seed=9, eval_every=9))  # compiles what does not depend on the model
    one, other = (mlp(hidden=[width], num_outputs=10) for width in (11, 12))
    single = lane(feed, seed=9, model=one, eval_every=9)
    lanes = [lane(feed, seed=seed, model=other, eval_every=9) for seed in range(6)]
    before = compilations()
    alone(single, one)
    between = compilations()
    train_lanes(Static(other, OPTIMIZER), lanes, mode="threads")
    assert compilations() - between == between - before > 0


def test_lanes_in_threads_use_the_default_device_of_the_caller(feed):
    seen = []

    class Watching(Notes):
        def chunk(self, start, length, metrics):
            seen.append((threading.current_thread(), jnp.zeros(()).devices(), default()))

    def default():
        return jax.config.values["jax_default_device"]

    device = jax.devices()[0]
    lanes = [replace(lane(feed, seed=seed, steps=2), listener=Watching()) for seed in (1, 2)]
    with jax.default_device(device):
        train_lanes(Static(MLP, OPTIMIZER), lanes, mode="threads")
    assert [found for _, *found in seen] == [[{device}, device]] * 2
    assert threading.current_thread() not in [thread for thread, *_ in seen]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_another_exception_ends_all_lanes_and_is_raised(feed, mode, error):
    lanes = [lane(feed, seed=seed, steps=10**8) for seed in (1, 2, 3)]
    lanes[1].listener.failure = error
    with pytest.raises(type(error)):
        train_lanes(Static(MLP, OPTIMIZER), lanes, mode=mode)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dispatch": "step"}, "dispatch"),
        ({"schedule": ReduceOnPlateau(base_lr=0.1)}, "same shapes"),
        ({"model": mlp(hidden=[8], num_outputs=10)}, "same shapes"),
        ({"ranking": Ranking("eval/accuracy", highest=True)}, "same ranking"),
    ],
)
def test_lanes_that_cannot_be_vmapped_are_refused(feed, settings, message):
    lanes = [lane(feed, seed=1), lane(feed, seed=2, **settings)]
    with pytest.raises(ValueError, match=message):
        train_lanes(Static(MLP, OPTIMIZER), lanes, mode="vmap")


def test_lanes_of_different_types_are_not_vmapped(feed):
    first, other = lane(feed, seed=1), lane(feed, seed=2)
    half = replace(other.hyperparams, optimizer={"momentum": np.float16(0.9)})
    lanes = [first, replace(other, hyperparams=half)]
    with pytest.raises(ValueError, match="same shapes"):
        train_lanes(Static(MLP, OPTIMIZER), lanes, mode="vmap")


def test_the_memory_of_the_states_of_vmapped_lanes_is_reused(feed):
    lanes, device = [lane(feed, seed=seed) for seed in (1, 2, 3)], jax.devices()[0]
    states = vmapped.stack([each.state for each in lanes], device)
    hyperparams = vmapped.stack([each.hyperparams for each in lanes], device)
    batches = np.zeros((1024, 3, 20), np.int32)
    arguments = feed.source("train"), batches, np.ones(3, bool), np.int32(1)
    static = Static(MLP, OPTIMIZER)
    after, _ = vmapped.train_chunk(static, states, hyperparams, *arguments)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(states))
    assert after.step.tolist() == [1, 1, 1]


def test_vmapped_lanes_must_share_a_data_set(dataset, feed):
    device = jax.devices()[0]
    other = Feed(dataset, batch_size=20, seed=0, placement="device", device=device)
    lanes = [lane(feed, seed=1), lane(other, seed=2)]
    with pytest.raises(ValueError, match=r"Feed\.reseeded"):
        train_lanes(Static(MLP, OPTIMIZER), lanes, mode="vmap")


def test_no_lanes_have_no_ends():
    assert train_lanes(Static(MLP, OPTIMIZER), [], mode="threads") == []


def test_lanes_are_vmapped_where_a_small_model_leaves_the_chip_idle():
    chosen = [choose_lane_mode(platform, "scan") for platform in ("cpu", "gpu", "tpu")]
    assert chosen == ["threads", "vmap", "vmap"]
    assert choose_lane_mode("gpu", "step") == "threads"


def test_as_many_lanes_run_at_once_as_the_process_may_use_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert _cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert _cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)  # unknown
    assert _cores() == 1
