"""Logs completed chunks and evaluations, shows them, and keeps the metrics and times of a run."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from runner.config import Ranking
from runner.errors import DivergedError
from runner.records.class_tables import ClassTables
from runner.records.events import EventWriter
from runner.records.figures import Figures
from runner.records.throughput import Throughput
from runner.training.listener import Evaluations
from runner.training.tags import (
    CYCLE,
    EVAL_LOSS,
    LOSS,
    PREFIXES,
    RATE,
    THROUGHPUT,
    group_of,
    is_rate,
)

_log = logging.getLogger("runner")
_TEST = f"{PREFIXES['test']}/"
# The figures of a new run.
_NO_FIGURES = Figures()
# The most groups whose rates an error lists.
_MOST_RATES = 4

# Steps [n], columns by tag [n], wall times [n].
_Rows = tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]


class Display(Protocol):
    """Shows the progress of a run."""

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        """``step`` updates are complete; ``values`` are those of the last one, by tag."""
        ...

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """``metrics``, by tag, were measured after ``step`` updates."""
        ...

    def close(self) -> None:
        """Leaves the last state visible; a second call does nothing."""
        ...


class Journal:
    """The figures of a run so far; methods wait for the device; call them in the order of steps.

    Attributes:
      start: the step that training starts at.
    """

    def __init__(
        self,
        *,
        events: EventWriter,
        display: Display,
        log_every: int,
        started: float,
        ranking: Ranking,
        tables: ClassTables | None = None,
        has_cycles: bool = True,
        start: int = 0,
        earlier: Figures = _NO_FIGURES,
    ) -> None:
        """Logs the last evaluation again if ``start`` is its step.

        Args:
          log_every: the interval, in steps, at which metrics are written; the last step always is.
          started: the ``time.perf_counter()`` that ``seconds_to_first_step`` counts from.
          ranking: the metric that ranks evaluations.
          tables: logs metrics by class; None leaves them out.
          has_cycles: whether errors name the cycle.
          start, earlier: the step that training starts at, and the figures of the run up to it.
        """
        self.events, self.display = events, display
        self.steps = self.start = start
        self.last_metrics: dict[str, float] = dict(earlier.metrics)
        self.best: dict[str, str | float | int] | None = (
            dict(earlier.best) if earlier.best else None
        )
        self.throughput = Throughput(started=started)
        self._started, self._earlier = started, earlier
        self._evaluated_step = earlier.evaluated_step
        self._log_every, self._ranking = log_every, ranking
        self._tables, self._has_cycles = tables, has_cycles
        self._last: _Rows | None = None
        self._wall_time: float | None = None
        if start and earlier.evaluated_step == start:
            # TensorBoard hides what earlier attempts logged at this step and later.
            self._log_evaluation(start, _without_test(self.last_metrics), wall_time=time.time())

    def chunk(
        self, start: int, length: int, metrics: Mapping[str, Any], *, submitted: float
    ) -> None:
        """Records steps ``start`` to ``start + length - 1``.

        submitted: the ``time()`` at which their metrics were handed over.

        Raises:
          DivergedError: a loss is not finite; everything up to and including that step is recorded
            (by ``finish``, if ``log_every`` skips it).
        """
        self._record(self._fetched(start, length, metrics, submitted=submitted))

    def evaluated_chunk(
        self,
        start: int,
        length: int,
        metrics: Mapping[str, Any],
        evaluations: Evaluations,
        *,
        submitted: float,
    ) -> Iterator[int]:
        """Records a chunk and the evaluations within it; raises as ``chunk`` and ``evaluation`` do.

        Yields the number of steps of the chunk before each evaluation, once that is recorded.
        """
        rows = self._fetched(start, length, metrics, submitted=submitted)
        for place, found in evaluations.parts(length):
            part = _part(rows, place)
            self._record(part)
            if found is not None:
                self._evaluation(start + place.stop, found, wall_time=part[2][-1])
                yield place.stop

    def evaluation(self, step: int, metrics: Mapping[str, Any], *, submitted: float) -> None:
        """Records metrics measured after ``step`` updates.

        submitted: the ``perf_counter()`` at which they were handed over.

        Raises:
          DivergedError: the evaluation's loss is not finite.
        """
        seen = not all(map(_is_ready, metrics.values()))
        fetched = {tag: np.asarray(value) for tag, value in metrics.items()}
        self.throughput.pause(since=submitted, seen=seen)
        self._evaluation(step, fetched, wall_time=time.time())

    def figures(self) -> Figures:
        """The figures up to the last chunk or evaluation recorded."""
        speed = self.throughput.steps_per_second
        training = (self.steps - self.start) / speed if speed else 0.0
        earlier, lost = self._earlier, self.events.lost_at_step
        if earlier.logging_lost_at_step is not None:
            lost = earlier.logging_lost_at_step
        return Figures(
            metrics=dict(self.last_metrics),
            evaluated_step=self._evaluated_step,
            best=self.best,
            seconds=earlier.seconds + perf_counter() - self._started,
            training_seconds=earlier.training_seconds + training,
            logging_lost_at_step=lost,
        )

    def finish(self) -> None:
        """Writes the last step of the run, if ``log_every`` skipped it, and the throughput."""
        if self._tables is not None:
            for tag, png in self._tables.pictures():
                self.events.picture(tag, png, step=self.steps)
        tested = self.last_metrics.keys() - _without_test(self.last_metrics)
        if self.steps == self.start and tested:  # the run had nothing left to train
            values = {tag: self.last_metrics[tag] for tag in tested}
            self._log_evaluation(self.start, values, wall_time=time.time())
        if self._last is None:
            return
        if self._last[0][-1] % self._log_every:
            self.events.scalars(*self._last)
        self._log_throughput(self.throughput.overall())
        self._last = None

    def _fetched(
        self, start: int, length: int, metrics: Mapping[str, Any], *, submitted: float
    ) -> _Rows:
        """The metrics of a chunk, fetched to the host."""
        columns = {tag: np.asarray(column)[:length] for tag, column in metrics.items()}
        self.throughput.chunk(length)
        return np.arange(start, start + length), columns, self._wall_times(length, submitted)

    def _record(self, rows: _Rows) -> None:
        """Logs and shows steps, up to the first whose loss is not finite."""
        # Drops the test metrics of a finished run made longer: it is tested again at its new end.
        self.last_metrics = _without_test(self.last_metrics)
        steps, columns, _ = rows
        bad = np.flatnonzero(~np.isfinite(columns[LOSS]))
        finite = int(bad[0]) if len(bad) else len(steps)
        rows = _part(rows, slice(0, finite + 1))
        self._log(rows)
        self.steps = int(steps[0]) + finite
        self._show(rows)
        if len(bad):
            raise _diverged_in_training(rows, has_cycles=self._has_cycles)

    def _evaluation(self, step: int, metrics: Mapping[str, np.ndarray], wall_time: float) -> None:
        values = {tag: float(value) for tag, value in metrics.items() if not value.ndim}
        if self._tables is not None:
            values |= self._tables.by_class(metrics)
        self._log_evaluation(step, values, wall_time=wall_time)
        self.last_metrics, self._evaluated_step = values, step
        self.display.evaluation(step, values)
        if not math.isfinite(values.get(EVAL_LOSS, 0.0)):
            updates = "1 update" if step == 1 else f"{step} updates"
            problem = f"{values[EVAL_LOSS]} after {updates}"
            raise DivergedError(EVAL_LOSS, problem, _remedy(step))
        self._rank(step, values)

    def _wall_times(self, length: int, submitted: float) -> np.ndarray:
        """The end of each step [length]: spread evenly, as only the chunk's end is known."""
        now = time.time()
        begin = submitted if self._wall_time is None else self._wall_time
        self._wall_time = now
        return np.linspace(min(begin, now), now, length + 1)[1:]

    def _log_evaluation(self, step: int, values: Mapping[str, float], *, wall_time: float) -> None:
        columns = {tag: np.array([value]) for tag, value in values.items()}
        self.events.scalars(np.array([step]), columns, np.array([wall_time]))

    def _log(self, rows: _Rows) -> None:
        steps, columns, wall_times = rows
        due = steps % self._log_every == 0
        self.events.scalars(
            steps[due], {tag: column[due] for tag, column in columns.items()}, wall_times[due]
        )
        self._last = _last_row(rows)
        self._log_throughput(self.throughput.window())

    def _log_throughput(self, speed: float | None) -> None:
        if speed is not None and self._last is not None:
            steps, _, wall_times = self._last
            self.events.scalars(steps, {THROUGHPUT: np.array([speed])}, wall_times)

    def _show(self, rows: _Rows) -> None:
        values = {tag: column[-1].item() for tag, column in rows[1].items()}
        self.display.update(self.steps, values, self.throughput.steps_per_second)

    def _rank(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the best evaluation by the metric."""
        metric, sign = self._ranking.metric, self._ranking.sign
        value = values.get(metric, math.nan)
        if math.isnan(value):
            return
        best = self.best if self.best and self.best["metric"] == metric else None
        if best is None or sign * value > sign * float(best["value"]):
            self.best = {"metric": metric, "value": value, "step": step}


def _without_test(metrics: Mapping[str, float]) -> dict[str, float]:
    return {tag: value for tag, value in metrics.items() if not tag.startswith(_TEST)}


def _is_ready(value: Any) -> bool:
    """Whether ``value`` can be fetched without waiting; True if it is not on a device."""
    return getattr(value, "is_ready", lambda: True)()


def _part(rows: _Rows, place: slice) -> _Rows:
    steps, columns, wall_times = rows
    return steps[place], {tag: column[place] for tag, column in columns.items()}, wall_times[place]


def _last_row(rows: _Rows) -> _Rows:
    steps, columns, wall_times = rows
    # Copied, as a view would keep the arrays of the chunk alive.
    return steps[-1:].copy(), {t: c[-1:].copy() for t, c in columns.items()}, wall_times[-1:].copy()


def _diverged_in_training(rows: _Rows, *, has_cycles: bool) -> DivergedError:
    steps, columns, _ = rows
    problem = f"{columns[LOSS][-1].item()} at step {steps[-1]}"
    rates = {tag: column[-1].item() for tag, column in columns.items() if is_rate(tag)}
    if RATE in rates:
        problem += f", where the rate was {rates[RATE]:.4g}"
    elif rates:
        listed = [f"{rate:.4g} ({group_of(tag)})" for tag, rate in rates.items()]
        more = ["..."] if len(listed) > _MOST_RATES else []
        problem += f", where the rates were {', '.join([*listed[:_MOST_RATES], *more])}"
    if has_cycles and CYCLE in columns:
        problem += f", in cycle {columns[CYCLE][-1].item()}"
    return DivergedError(LOSS, problem, _remedy(steps[-1]))


def _remedy(updates: int) -> str:
    if updates == 0:  # no rate has had an effect yet
        return "check the data, its normalisation (dataset.mean, dataset.std) and the model"
    return "lower scheduler.max_lr (or scheduler.base_lr, where the rate is constant)"
