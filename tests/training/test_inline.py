"""Evaluations within the program of a chunk against dispatches of their own."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from easy_images import easy_images

from runner.config import Ranking
from runner.data.dataset import Dataset, Split
from runner.data.feed import Feed
from runner.experiment.build import compiled_init
from runner.models.mlp import mlp
from runner.objectives import Targets
from runner.objectives.classification import Classification
from runner.optimizers import Wrappers, split
from runner.schedules import CyclicLR
from runner.schedules.plateau import Plateau
from runner.training import inline, loop
from runner.training.inline import evaluates_inline
from runner.training.listener import Evaluations, Listener
from runner.training.plan import Plan
from runner.training.state import Hyperparams, Static

OBJECTIVE = Classification(targets=Targets(num_classes=10))
SCHEDULE = CyclicLR(base_lr=0.01, max_lr=0.5, step_size_up=7, step_size_down=4)
EXAMPLE = (1, 8, 8, 1)


class Notes(Listener):
    """Keeps what it receives, on the host; ``pace`` is the speed that it claims to measure."""

    def __init__(self, pace):
        self.pace, self.metrics, self.evaluations, self.outcomes = pace, {}, {}, []
        self.asked = {}

    @property
    def steps_per_second(self):
        return self.pace

    def chunk(self, start, length, metrics):
        for tag, values in metrics.items():
            self.metrics.setdefault(tag, []).extend(np.asarray(values)[:length].tolist())

    def evaluation(self, step, metrics):
        assert step not in self.evaluations
        scalars = {tag: np.asarray(v) for tag, v in metrics.items() if not v.ndim}
        self.evaluations[step] = {tag: value.tobytes() for tag, value in scalars.items()}

    def wants_state(self, step, *, evaluated):
        self.asked[step] = evaluated
        return False

    def evaluated_chunk(self, start, length, metrics, evaluations):
        self.outcomes.append((start, length, evaluations))
        Listener.evaluated_chunk(self, start, length, metrics, evaluations)


@pytest.fixture(scope="module")
def dataset():
    examples = partial(easy_images, np.random.default_rng(0))
    return Dataset(
        examples(203), examples(61), num_classes=10, mean=4.0, std=3.0, validation=examples(83)
    )


CHOSEN, VALUES = split("sgd", {"momentum": 0.9, "nesterov": False, "weight_decay": None})
STATIC = Static(mlp(hidden=[16], num_outputs=10), CHOSEN)
# With an average, which is evaluated in place of the trained parameters.
HYPERPARAMS = Hyperparams(SCHEDULE, VALUES, Wrappers.of(ema_decay=0.9), OBJECTIVE)


def initial_state():
    return compiled_init(
        STATIC, HYPERPARAMS, seed=np.uint32(3), inputs=np.zeros(EXAMPLE, np.float32)
    )


def feed_of(dataset, placement="device"):
    return Feed(dataset, batch_size=20, seed=3, placement=placement, device=jax.devices()[0])


def plan_of(**given):
    lengths = {"steps": 50, "eval_every": 6, "chunk": "auto", "dispatch": "scan"}
    return Plan(**{**lengths, "ranking": Ranking("eval/accuracy", True), **given})


def fit(dataset, *, pace=None, state=None, hyperparams=HYPERPARAMS, **lengths):
    notes = Notes(pace)
    state = initial_state() if state is None else state
    *_, trained = loop.train(
        STATIC,
        state,
        hyperparams,
        feed_of(dataset),
        plan=plan_of(**lengths),
        listener=notes,
        should_stop=lambda: False,
    )
    return jax.tree.map(np.asarray, trained.params), notes


def same_bytes(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


@pytest.fixture(scope="module")
def apart(dataset):
    """A run whose evaluations are dispatched on their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "evaluates_inline", lambda *_, **__: False)
        params, notes = fit(dataset)
    assert not notes.outcomes
    assert notes.asked == dict.fromkeys([*range(6, 49, 6), 50], True)
    return params, notes


@pytest.mark.parametrize("pace", [None, 30.0, 100.0, 1e6])
@pytest.mark.parametrize("chunk", ["auto", 1, 5, 1000])
def test_evaluations_in_a_chunk_equal_dispatches_of_their_own(dataset, apart, pace, chunk):
    params, notes = fit(dataset, pace=pace, chunk=chunk)
    assert notes.outcomes
    assert list(notes.evaluations) == [*range(6, 49, 6), 50]
    assert [step for step, evaluated in notes.asked.items() if evaluated] == [50]
    assert notes.evaluations == apart[1].evaluations
    assert notes.metrics == apart[1].metrics
    assert same_bytes(params, apart[0])


def test_a_fast_run_is_one_dispatch_up_to_its_last_evaluation(dataset):
    _, notes = fit(dataset, pace=1e6)
    ((start, length, evaluations),) = notes.outcomes
    assert (start, length) == (0, 50)
    assert evaluations.after == [*range(6, 49, 6)]  # the last one scores the test split, too
    assert notes.asked == {50: True}


def test_chunks_with_any_number_of_evaluations_share_a_program_and_reuse_the_state(
    dataset, compilations
):
    fit(dataset, pace=100.0)
    state, before = initial_state(), compilations()
    fit(dataset, pace=30.0, state=state)
    assert compilations() == before
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranking", "best_of"),
    [
        (Ranking("eval/accuracy", True), np.argmax),
        (Ranking("eval/loss", False), np.argmin),
    ],
)
def test_the_state_of_the_best_evaluation_is_kept(dataset, apart, ranking, best_of):
    _, notes = fit(dataset, pace=1e6, ranking=ranking)
    ((_, _, evaluations),) = notes.outcomes
    values = [
        np.frombuffer(apart[1].evaluations[step][ranking.metric], np.float32).item()
        for step in range(6, 49, 6)
    ]
    best = 6 * (int(best_of(values)) + 1)
    assert int(evaluations.best) == best
    params, _ = fit(dataset, steps=best, eval_every=None)
    assert int(evaluations.best_state.step) == best
    assert same_bytes(evaluations.best_state.params, params)


def test_the_first_of_equal_evaluations_is_the_best(dataset):
    still = replace(HYPERPARAMS, schedule=constant(1e-30))
    _, notes = fit(dataset, pace=1e6, hyperparams=still)
    ((_, _, evaluations),) = notes.outcomes
    assert int(evaluations.best) == 6


def constant(rate):
    return CyclicLR(base_lr=rate, max_lr=rate, step_size_up=7, step_size_down=4)


@pytest.mark.parametrize("ranking", [Ranking("eval/loss", False), Ranking("eval/accuracy", True)])
def test_an_evaluation_after_a_loss_that_is_not_a_number_is_never_the_best(dataset, ranking):
    """The accuracy of a model without a finite output is a number all the same."""
    state = initial_state()
    broken = jax.tree.map(partial(jnp.full_like, fill_value=jnp.nan), state.params)
    _, notes = fit(dataset, pace=1e6, state=replace(state, params=broken), ranking=ranking)
    ((_, _, evaluations),) = notes.outcomes
    assert int(evaluations.best) == 0


class Counted(Classification):
    """Its metrics are a whole number and a number of Python's."""

    def metrics(self, sums):
        return {"wrong": sums["examples"].astype(jnp.int32) - sums["correct"], "half": 0.5}


@pytest.mark.slow
def test_metrics_may_be_whole_numbers_or_numbers_of_pythons(dataset, apart):
    counted = replace(HYPERPARAMS, objective=Counted(targets=Targets(num_classes=10)))
    lowest = Ranking("eval/wrong", False)
    _, notes = fit(dataset, pace=1e6, hyperparams=counted, ranking=lowest)
    ((_, _, evaluations),) = notes.outcomes
    accuracies = [
        np.frombuffer(apart[1].evaluations[step]["eval/accuracy"], np.float32).item()
        for step in range(6, 49, 6)
    ]
    wrong = [round(83 * (1 - accuracy)) for accuracy in accuracies]
    assert np.asarray(evaluations.metrics["eval/wrong"])[5:48:6].tolist() == wrong
    assert np.asarray(evaluations.metrics["eval/half"])[5:48:6].tolist() == [0.5] * 8
    assert int(evaluations.best) == 6 * (np.argmin(wrong) + 1)


def test_early_stopping_watches_the_metric_that_ranks_evaluations(dataset):
    """It never changes, so that two more evaluations are waited for; the loss keeps falling."""
    hyperparams = replace(
        HYPERPARAMS,
        objective=Counted(targets=Targets(num_classes=10)),
        stopping=Plateau(patience=1, threshold=0.0, is_relative=False),
    )
    state = compiled_init(
        STATIC, hyperparams, seed=np.uint32(3), inputs=np.zeros(EXAMPLE, np.float32)
    )
    _, notes = fit(
        dataset, state=state, hyperparams=hyperparams, ranking=Ranking("eval/half", False)
    )
    assert list(notes.evaluations) == [6, 12, 18]


def test_a_metric_that_the_objective_lacks_ranks_nothing(dataset):
    _, notes = fit(dataset, pace=1e6, ranking=Ranking("eval/other", True))
    assert int(notes.outcomes[0][2].best) == 0


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"eval_every": 51}, True),  # a chunk has two evaluations
        ({"eval_every": 52}, False),
        ({"eval_every": None}, False),
        ({"dispatch": "step"}, False),
    ],
)
def test_whether_a_run_evaluates_inline_depends_on_the_plan(dataset, changed, expected):
    plan = plan_of(**changed)
    state, feed = initial_state(), feed_of(dataset)
    assert evaluates_inline(state, feed, plan, capacity=102) is expected


def test_what_a_chunk_cannot_evaluate_is_dispatched_on_its_own(dataset, monkeypatch):
    state, feed, plan = initial_state(), feed_of(dataset), plan_of()
    is_inline = partial(evaluates_inline, capacity=102)
    assert not is_inline(replace(state, stopping=jnp.zeros(())), feed, plan)
    assert not is_inline(replace(state, plateau=jnp.zeros(())), feed, plan)
    assert not is_inline(state, feed_of(dataset, "host"), plan)
    assert not is_inline(state, feed_of(dataset, "stream"), plan)
    large = replace(dataset, validation=Split(np.zeros((1025, 8, 8, 1)), np.zeros(1025, np.int32)))
    assert not is_inline(state, feed_of(large), plan)
    # 64·16 + 16 + 16·10 + 10 = 1,210 parameters, their momentum and average, step and key.
    monkeypatch.setattr(inline, "_STATE_BYTES", 3 * 4 * 1210 + 4 + 8)
    assert is_inline(state, feed, plan)
    monkeypatch.setattr(inline, "_STATE_BYTES", 3 * 4 * 1210 + 4 + 7)
    assert not is_inline(state, feed, plan)


def test_a_chunk_ends_where_the_host_intervenes_and_lists_its_evaluations():
    plan = plan_of(steps=100, eval_every=10, save_every=45, evaluated_ends=(12, 34))

    def chunk(start, pace, capacity=1024):
        length = plan.chunk_length(
            start, capacity=capacity, steps_per_second=pace, evaluates_inline=True
        )
        return length, [start + number for number in plan.evaluations(start, length)]

    assert chunk(0, None) == (10, [10])  # one evaluation until the speed is known
    assert chunk(5, None) == (5, [10])
    assert chunk(0, 1e6) == (45, [10, 12, 20, 30, 34, 40])
    assert chunk(5, 1e6) == (40, [10, 12, 20, 30, 34, 40])
    assert chunk(5, 85.0) == (17, [10, 12, 20])  # 0.2 s at 85 steps per second are 17 steps
    assert chunk(5, 1e6, capacity=9) == (9, [10, 12])
    assert chunk(75, 1e6) == (15, [80, 90])
    assert chunk(90, 1e6) == (10, [])  # the evaluation at the end of the run is not part of it
    assert chunk(45, 0.1) == (1, [])


def test_a_listener_receives_an_evaluated_chunk_part_by_part():
    received = []

    class Parts(Notes):
        def chunk(self, start, length, metrics):
            received.append((start, length, metrics["train/loss"].tolist()))

        def evaluation(self, step, metrics):
            received.append((step, metrics["eval/loss"].item()))

    evaluations = Evaluations([2, 3], {"eval/loss": np.array([9.0, 2.0, 3.0, 9.0])}, None, None)
    losses = {"train/loss": np.array([0.5, 1.5, 2.5, 9.0])}
    Parts(None).evaluated_chunk(10, 3, losses, evaluations)
    assert received == [(10, 2, [0.5, 1.5]), (12, 2.0), (12, 1, [2.5]), (13, 3.0)]
    received.clear()
    Parts(None).evaluated_chunk(10, 4, losses, evaluations)
    assert received[4:] == [(13, 1, [9.0])]
