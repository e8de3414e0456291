"""The short runs of a range test: lanes of one program, each with its own table of rates."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import numpy as np

from runner.experiment.build import Experiment
from runner.ranges import Smoother
from runner.schedules.tabulated import Tabulated
from runner.training.lanes import Lane, choose_lane_mode, train_lanes
from runner.training.loop import Metrics
from runner.training.plan import Plan
from runner.training.state import TrainState
from runner.training.tags import EVAL_LOSS, LOSS

# The state that the run of an experiment starts from.
Start = Callable[[Experiment], TrainState]

# A lane is checked for an early end this many times, and at least once per this many steps.
_CHUNKS = 16
_LONGEST_CHUNK = 64


@dataclass(frozen=True, eq=False)
class ShortRun:
    """One lane.

    rates: of each update, [steps] or [steps, groups].
    momenta: the same, or None to leave the optimizer's momentum as it is.
    """

    seed: int
    rates: np.ndarray
    listener: "Losses | Score"
    momenta: np.ndarray | None = None


class ShortRuns:
    """Trains short runs of an experiment; a context manager, as they share its data."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        table: int,
        stopping: Callable[[], bool],
        start: Start = Experiment.initial_state,
    ) -> None:
        """
        Args:
          table: the length of the longest run: all rates are padded to it, so that runs of all
            lengths share a program.
          stopping: whether to end all runs early.
          start: returns the initial state of the run of a seed.
        """
        # Early stopping and plateaus need evaluations, which short runs do not have.
        hyperparams = replace(experiment.hyperparams, stopping=None)
        self.experiment = replace(experiment, hyperparams=hyperparams)
        self._table, self._start, self._stopping = table, start, stopping
        self._opened = ExitStack()
        self._feed = experiment.feed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def train(self, runs: Sequence[ShortRun]) -> int:
        """Trains each run to its end, or until its listener ends it; returns all updates."""
        experiment = self.experiment
        ends = train_lanes(
            experiment.static,
            [self._lane(run) for run in runs],
            mode="threads"
            if experiment.plan.dispatch == "step"
            else choose_lane_mode(experiment.device.platform),
        )
        return sum(int(end.state.step) for end in ends)

    def _lane(self, run: ShortRun) -> Lane:
        experiment, listener = self.experiment, run.listener
        seeded = experiment.seeded(run.seed)
        feed = self._feed.reseeded(run.seed)
        self._opened.callback(feed.close)
        schedule = Tabulated(
            rates=self._padded(run.rates),
            momenta=None if run.momenta is None else self._padded(run.momenta),
        )
        steps = len(run.rates)
        return Lane(
            state=replace(self._start(seeded), plateau=None, stopping=None),
            hyperparams=jax.device_put(
                replace(experiment.hyperparams, schedule=schedule), experiment.device
            ),
            feed=feed,
            plan=Plan(
                # A plan ends with an evaluation, so a run without one is ended by its listener.
                steps=steps if listener.evaluates else steps + 1,
                eval_every=None,
                chunk=min(max(steps // _CHUNKS, 1), _LONGEST_CHUNK),
                dispatch=experiment.plan.dispatch,
                cycle_ends=(steps,),
                ranking=experiment.config.ranking,
                scores_test=False,
            ),
            listener=listener,
            stopping=lambda: listener.ended or self._stopping(),
        )

    def _padded(self, values: np.ndarray) -> np.ndarray:
        short = self._table - len(values)
        return np.pad(values, [(0, short)] + [(0, 0)] * (values.ndim - 1), mode="edge")


class _Chunks:
    """A listener that reads the losses of a chunk after the next one has been dispatched."""

    evaluates = True

    def __init__(self, steps: int) -> None:
        self.ended = False
        self._steps = steps
        self._pending: tuple[int, int, Any] | None = None

    @property
    def steps_per_second(self) -> float | None:
        return None

    def chunk(self, start: int, length: int, metrics: Metrics) -> None:
        self.catch_up()
        self._pending = start, length, metrics[LOSS]
        if not self.evaluates and start + length >= self._steps:
            self.ended = True

    def catch_up(self) -> None:
        """Reads the losses of the last chunk; may wait for the device."""
        if self._pending is not None:
            start, length, losses = self._pending
            self._pending = None
            self.look(start, np.asarray(losses)[:length])

    def look(self, start: int, losses: np.ndarray) -> None:
        raise NotImplementedError

    def evaluation(self, step: int, metrics: Metrics) -> None:
        pass

    def wants_state(self, step: int, *, evaluated: bool) -> bool:
        return False

    def state(self, step: int, state: TrainState) -> None:
        pass

    def raise_failure(self) -> None:
        pass


class Losses(_Chunks):
    """Keeps the losses of a run after its warm-up, and ends it when they have risen too far."""

    evaluates = False

    def __init__(self, steps: int, *, warmup: int, smoothing: float) -> None:
        super().__init__(steps)
        self.losses: list[float] = []
        self._warmup, self._smoother = warmup, Smoother(smoothing)

    def look(self, start: int, losses: np.ndarray) -> None:
        for loss in losses[max(self._warmup - start, 0) :].tolist():
            self.losses.append(loss)
            self._smoother.add(loss)
        self.ended = self.ended or self._smoother.stopped


class Score(_Chunks):
    """Keeps the evaluation at the end of a run, and ends it if its loss is not finite."""

    def __init__(self, steps: int, *, metric: str, worst: float) -> None:
        """``worst`` is the score of a run that diverges."""
        super().__init__(steps)
        self._metric, self._worst = metric, worst
        self._found: Metrics | None = None

    def look(self, start: int, losses: np.ndarray) -> None:
        self.ended = self.ended or not np.isfinite(losses).all()

    def evaluation(self, step: int, metrics: Metrics) -> None:
        self._found = metrics

    @property
    def score(self) -> float:
        """The metric at the end of the run; waits for it."""
        self.catch_up()
        if self.ended or self._found is None or not np.isfinite(float(self._found[EVAL_LOSS])):
            return self._worst
        return float(self._found[self._metric])
