"""Trains several runs that share a compiled program, in threads or vmapped.

Lanes have the same ``Static`` and shapes; everything else may differ. No lane affects another.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal

import jax
import numpy as np

from runner.data.feed import Feed
from runner.errors import DivergedError
from runner.training import vmapped
from runner.training.listener import Listener
from runner.training.loop import chunk_capacity, is_over, train
from runner.training.plan import Dispatch, Plan
from runner.training.state import Hyperparams, Static, TrainState

LaneMode = Literal["threads", "vmap"]


@dataclass(frozen=True, eq=False)
class Lane:
    """One run among several that share a program.

    Each lane has its own order of examples, hyperparameters, plan, listener and end.

    state: the initial state; training donates its buffers.
    should_stop: called before each chunk; true ends the lane.
    """

    state: TrainState
    hyperparams: Hyperparams
    feed: Feed
    plan: Plan
    listener: Listener
    should_stop: Callable[[], bool]


@dataclass(frozen=True, eq=False)
class LaneEnd:
    """How a lane ended.

    state: after its last chunk.
    failure: what its listener raised, or None.
    """

    state: TrainState
    failure: DivergedError | None


def choose_lane_mode(platform: str, dispatch: Dispatch) -> LaneMode:
    """The faster way on a platform: ``threads`` on ``cpu``, ``vmap`` on any other.

    A small model leaves most of an accelerator idle, so that many lanes cost little more than one.
    On the CPU backend vmap gains little over one lane after another, and vmapped convolutions are
    several times slower. Lanes with a dispatch per step cannot be vmapped.
    """
    return "threads" if platform == "cpu" or dispatch == "step" else "vmap"


def train_lanes(static: Static, lanes: Sequence[Lane], *, mode: LaneMode) -> list[LaneEnd]:
    """Trains each lane as ``loop.train`` would, and returns their ends in the same order.

    ``threads``: each core trains one lane at a time; results equal those of ``loop.train`` to the
    bit. ``vmap``: all lanes advance together, chunk by chunk, in one batched program; results
    differ from those of ``loop.train`` by rounding.

    A ``DivergedError`` from a listener ends its lane. Any other exception ends all lanes and is
    raised.

    Raises:
      ValueError: the lanes cannot be vmapped: their arrays have different shapes, their feeds do
        not share a data set, their plans have different rankings or dispatch single steps.
    """
    if not lanes:
        return []
    train_all = _train_in_threads if mode == "threads" else _train_vmapped
    return train_all(static, lanes)


def _train_in_threads(static: Static, lanes: Sequence[Lane]) -> list[LaneEnd]:
    device = jax.config.values["jax_default_device"]  # set for the calling thread only
    abandoned = Event()

    def train_one(lane: Lane) -> LaneEnd:
        with jax.default_device(device):
            return _train_alone(static, lane, abandoned)

    with ThreadPoolExecutor(min(len(lanes), _cores()), thread_name_prefix="lane") as executor:
        futures = [executor.submit(train_one, lane) for lane in lanes]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:  # a KeyboardInterrupt also ends the wait
            abandoned.set()
            executor.shutdown(wait=False, cancel_futures=True)
        # Lanes start in order: one that raised comes before those that were cancelled.
        return [future.result() for future in futures]


def _train_alone(static: Static, lane: Lane, abandoned: Event) -> LaneEnd:
    state = lane.state
    states = train(
        static,
        state,
        lane.hyperparams,
        lane.feed,
        plan=lane.plan,
        listener=lane.listener,
        should_stop=lambda: abandoned.is_set() or lane.should_stop(),
    )
    try:
        for newest in states:
            state = newest
    except DivergedError as failure:
        return LaneEnd(state, failure)
    return LaneEnd(state, None)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False)
class _Slot:
    """A lane's place on the leading axis, and how far it has come."""

    index: int
    lane: Lane
    step: int = field(init=False)
    is_over: bool = field(init=False)
    failure: DivergedError | None = None

    def __post_init__(self) -> None:
        self.step = int(self.lane.state.step)
        self.is_over = is_over(self.lane.state, self.step, self.lane.plan.steps)

    def goes_on(self) -> bool:
        """Whether it takes part in the next chunk."""
        self.is_over = self.is_over or self.failure is not None or self.lane.should_stop()
        return not self.is_over

    def chunk_length(self, capacity: int) -> int:
        speed = self.lane.listener.steps_per_second
        return self.lane.plan.chunk_length(self.step, capacity=capacity, steps_per_second=speed)

    def hand_over(self, states: TrainState, *, evaluated: bool) -> None:
        """Gives the listener the state if it wants it, and notes whether the lane has failed."""
        listener = self.lane.listener
        if listener.wants_state(self.step, evaluated=evaluated):
            listener.state(self.step, vmapped.lane_of(states, self.index))
        try:
            listener.raise_failure()
        except DivergedError as failure:
            self.failure = failure


def _train_vmapped(static: Static, lanes: Sequence[Lane]) -> list[LaneEnd]:
    _check_vmappable(lanes)
    slots = [_Slot(index, lane) for index, lane in enumerate(lanes)]
    (device,) = lanes[0].state.step.devices()
    states = vmapped.stack([lane.state for lane in lanes], device)
    hyperparams = vmapped.stack([lane.hyperparams for lane in lanes], device)
    source = lanes[0].feed.source("train")
    capacity = chunk_capacity(*(lane.feed for lane in lanes))
    while running := [slot for slot in slots if slot.goes_on()]:
        length = min(slot.chunk_length(capacity) for slot in running)
        batches = _batches(slots, running, length, capacity)
        active = _mask(slots, running)
        states, metrics = vmapped.train_chunk(
            static, states, hyperparams, source, batches, active, np.int32(length)
        )
        for slot in running:
            slot.lane.listener.chunk(slot.step, length, vmapped.lane_of(metrics, slot.index))
            slot.step += length
        due = [slot for slot in running if slot.lane.plan.evaluates_at(slot.step)]
        if due:
            states = _evaluate(static, states, hyperparams, slots, due)
        for slot in running:
            slot.hand_over(states, evaluated=slot in due)
    return [LaneEnd(vmapped.lane_of(states, slot.index), slot.failure) for slot in slots]


def _check_vmappable(lanes: Sequence[Lane]) -> None:
    first = lanes[0]
    for lane in lanes:
        if lane.plan.dispatch == "step":
            raise ValueError("vmapped lanes need plans with dispatch='scan'")
        if lane.plan.ranking != first.plan.ranking:
            raise ValueError("vmapped lanes need plans with the same ranking")
        if lane.feed.source("train") is not first.feed.source("train"):
            raise ValueError("vmapped lanes must share a data set: use Feed.reseeded")
        if _layout(lane) != _layout(first):
            raise ValueError("vmapped lanes need states and hyperparameters of the same shapes")


def _layout(lane: Lane) -> Any:
    """The structure, shapes and types of a lane's arrays."""
    leaves, structure = jax.tree.flatten((lane.state, lane.hyperparams))
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _batches(slots: Sequence[_Slot], running: Sequence[_Slot], length: int, capacity: int) -> Any:
    """The batches of a chunk [capacity, lanes, batch, ...]; arbitrary for lanes not running."""
    chunks: dict[tuple[int, int], Any] = {}  # lanes often have the same order of examples
    for slot in running:
        feed, key = slot.lane.feed, (slot.lane.feed.seed, slot.step)
        if key not in chunks:
            chunks[key] = feed.host_batches(slot.step, length, capacity=capacity)
    unused = next(iter(chunks.values()))
    taken = [chunks.get((slot.lane.feed.seed, slot.step), unused) for slot in slots]
    return jax.tree.map(lambda *arrays: np.stack(arrays, axis=1), *taken)


def _mask(slots: Sequence[_Slot], chosen: Sequence[_Slot]) -> np.ndarray:
    """Whether each lane is one of ``chosen``, bool [lanes]."""
    mask = np.zeros(len(slots), bool)
    mask[[slot.index for slot in chosen]] = True
    return mask


def _evaluate(
    static: Static,
    states: TrainState,
    hyperparams: Hyperparams,
    slots: Sequence[_Slot],
    due: Sequence[_Slot],
) -> TrainState:
    """Evaluates the lanes in ``due``; returns the states after these have observed the metrics."""
    run = static, states, hyperparams, due[0].lane.feed
    found = vmapped.evaluate(*run, "validation")
    if states.plateau is not None or states.stopping is not None:
        ranking = due[0].lane.plan.ranking
        value, mask = found[ranking.metric], _mask(slots, due)
        states = vmapped.observe_metric(states, hyperparams, value, mask, highest=ranking.highest)
    reached = None if states.stopping is None else np.asarray(states.stopping.reached)
    for slot in due:
        is_stopped = reached is not None and bool(reached[slot.index])
        slot.is_over = is_stopped or slot.step >= slot.lane.plan.steps
    tested = [slot for slot in due if slot.is_over and slot.lane.plan.scores_test]
    test = vmapped.evaluate(*run, "test") if tested else {}
    for slot in due:
        metrics = found | test if slot in tested else found
        slot.lane.listener.evaluation(slot.step, vmapped.lane_of(metrics, slot.index))
    return states
