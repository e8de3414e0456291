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
from runner.training.listener import Listener, Metrics
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
    observer: "Losses | Score"
    momenta: np.ndarray | None = None


class ShortRuns:
    """Trains short runs of an experiment; a context manager, as they share its data."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        table: int,
        should_stop: Callable[[], bool],
        start: Start = Experiment.initial_state,
    ) -> None:
        """
        Args:
          table: the length of the longest run: all rates are padded to it, so that runs of all
            lengths share a program.
          should_stop: whether to end all runs early.
          start: returns the initial state of the run of a seed.
        """
        # Early stopping and plateaus need evaluations during a run, which short runs do not have.
        hyperparams = replace(experiment.hyperparams, stopping=None)
        self.experiment = replace(experiment, hyperparams=hyperparams)
        self._table, self._start, self._should_stop = table, start, should_stop
        self._opened = ExitStack()
        self._feed = experiment.feed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def train(self, runs: Sequence[ShortRun]) -> int:
        """Trains each run to its end, or until its listener ends it; returns the updates made."""
        experiment = self.experiment
        listeners = [ShortRunListener(run.observer, len(run.rates)) for run in runs]
        ends = train_lanes(
            experiment.static,
            [self._lane(*pair) for pair in zip(runs, listeners, strict=True)],
            mode=choose_lane_mode(experiment.device.platform, experiment.plan.dispatch),
        )
        for listener in listeners:
            listener.catch_up()
        return sum(int(end.state.step) for end in ends)

    def _lane(self, run: ShortRun, listener: "ShortRunListener") -> Lane:
        experiment = self.experiment
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
                steps=steps if run.observer.evaluates else steps + 1,
                eval_every=None,
                chunk=min(max(steps // _CHUNKS, 1), _LONGEST_CHUNK),
                dispatch=experiment.plan.dispatch,
                cycle_ends=(steps,),
                ranking=experiment.config.ranking,
                scores_test=False,
            ),
            listener=listener,
            should_stop=lambda: listener.ended or self._should_stop(),
        )

    def _padded(self, values: np.ndarray) -> np.ndarray:
        short = self._table - len(values)
        return np.pad(values, [(0, short)] + [(0, 0)] * (values.ndim - 1), mode="edge")


class ShortRunListener(Listener):
    """Passes the losses of a chunk to an observer once the next chunk has been sent."""

    def __init__(self, observer: "Losses | Score", steps: int) -> None:
        self._observer, self._steps = observer, steps
        self._is_over = False
        self._pending: tuple[int, int, Any] | None = None

    @property
    def steps_per_second(self) -> None:
        """None, as the plan sets the length of chunks."""

    @property
    def ended(self) -> bool:
        """Whether the run is to end, or has been trained for all its steps."""
        return self._is_over or self._observer.ended

    def chunk(self, start: int, length: int, metrics: Metrics) -> None:
        self.catch_up()
        self._pending = start, length, metrics[LOSS]
        if not self._observer.evaluates and start + length >= self._steps:
            self._is_over = True

    def catch_up(self) -> None:
        """Passes on the losses of the last chunk, for which it may have to wait."""
        if self._pending is not None:
            start, length, losses = self._pending
            self._pending = None
            self._observer.look(start, np.asarray(losses)[:length])

    def evaluation(self, step: int, metrics: Metrics) -> None:
        self._observer.evaluation(metrics)

    def wants_state(self, step: int, *, evaluated: bool) -> bool:
        return False

    def state(self, step: int, state: TrainState) -> None:
        pass

    def raise_failure(self) -> None:
        pass


class Losses:
    """Keeps the losses of a run after its warm-up, and ends it when they have risen too far."""

    evaluates = False

    def __init__(self, *, warmup: int, smoothing: float) -> None:
        self.ended = False
        self.losses: list[float] = []
        self._warmup, self._smoother = warmup, Smoother(smoothing)

    def look(self, start: int, losses: np.ndarray) -> None:
        for loss in losses[max(self._warmup - start, 0) :].tolist():
            self.losses.append(loss)
            self._smoother.add(loss)
        self.ended = self.ended or self._smoother.stopped

    def evaluation(self, metrics: Metrics) -> None:
        """A run without evaluations has none to keep."""


class Score:
    """Keeps the evaluation at the end of a run, and ends it if its loss is not finite."""

    evaluates = True

    def __init__(self, *, metric: str, worst: float) -> None:
        """``worst`` is the score of a run that diverges."""
        self.ended = False
        self._metric, self._worst = metric, worst
        self._found: Metrics | None = None

    def look(self, start: int, losses: np.ndarray) -> None:
        self.ended = self.ended or not np.isfinite(losses).all()

    def evaluation(self, metrics: Metrics) -> None:
        self._found = metrics

    @property
    def score(self) -> float:
        """The metric at the end of the run."""
        if self.ended or self._found is None or not np.isfinite(float(self._found[EVAL_LOSS])):
            return self._worst
        return float(self._found[self._metric])
