"""The latest figures of a run, formatted for its progress display."""

import time
from collections.abc import Mapping

from runner.report.text import duration, number, pace, shortened
from runner.training.tags import CYCLE, LOSS, PREFIXES, RATE, group_of, is_rate

# The rates of more groups would not fit on a line.
_MOST_RATES = 3
_LABEL = 12
_EVAL = f"{PREFIXES['validation']}/"
# The time left is estimated only after this time, because the first chunks are not representative.
_LEAST_SECONDS = 0.2


class ProgressText:
    """The latest figures of a run of ``total`` updates: labelled values, and texts.

    Args:
      metric: the tag of the metric that is shown first.
      has_cycles: whether to show the cycle, which would otherwise always be 0.
    """

    def __init__(self, total: int, *, metric: str = "", has_cycles: bool = True) -> None:
        self.total = total
        self._metric = metric
        self._has_cycles = has_cycles
        self.step = 0
        self.values: list[tuple[str, str]] = []
        self.metrics: list[tuple[str, str]] = []
        self._started = time.perf_counter()
        # Step and time from which the pace is measured.
        self._since: tuple[int, float] | None = None
        self._updated_at = self._started
        self._steps_per_second: float | None = None

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self.step, self._steps_per_second = step, steps_per_second
        self._updated_at = time.perf_counter()
        if self._since is None:
            self._since = step, self._updated_at
        labels = {LOSS: "loss", RATE: "rate", **_group_rates(values)}
        labels |= {CYCLE: "cycle"} if self._has_cycles else {}
        present = {tag: label for tag, label in labels.items() if tag in values}
        self.values = [(label, number(values[tag])) for tag, label in present.items()]

    def evaluation(self, metrics: Mapping[str, float]) -> None:
        before, self._updated_at = self._updated_at, time.perf_counter()
        if (
            self._since is not None and not self.metrics
        ):  # the first one, which includes its compilation
            step, since = self._since
            self._since = step, since + self._updated_at - before
        # Test metrics are printed at the end.
        tags = [tag for tag in metrics if tag.startswith(_EVAL)]
        tags.sort(key=lambda tag: tag != self._metric)
        self.metrics = [(_metric_label(tag), number(metrics[tag])) for tag in tags]

    def percent(self) -> str:
        return f"{100 * self.step // self.total:3d}%"

    def steps(self) -> str:
        total = f"{self.total:,}"
        return f"{self.step:{len(total)},}/{total}"

    def speed(self) -> str:
        """Steps per second; empty until there is a figure."""
        rate = self._steps_per_second
        return "" if rate is None else pace(rate)

    def clock(self) -> str:
        """The time left (empty until it can be estimated), or at the end the total time.

        Estimated from the wall time between the first and the last update, without the first
        evaluation: that excludes compilation, and includes the evaluations that
        ``steps_per_second`` excludes.
        """
        if self.step >= self.total:
            return f"in {duration(time.perf_counter() - self._started)}"
        step, since = self._since or (self.step, self._updated_at)
        steps, seconds = self.step - step, self._updated_at - since
        if steps == 0 or seconds < _LEAST_SECONDS:
            return ""
        return f"{duration((self.total - self.step) * seconds / steps)} left"


def _group_rates(values: Mapping[str, float]) -> dict[str, str]:
    """Tag → label of the rates of groups, as many as fit."""
    tags = [tag for tag in values if is_rate(tag) and tag != RATE]
    return {tag: f"rate {shortened(group_of(tag), _LABEL)}" for tag in tags[:_MOST_RATES]}


def _metric_label(tag: str) -> str:
    """``eval/accuracy`` → ``accuracy``, but ``eval loss``, as ``loss`` is the training loss."""
    name = tag.rpartition("/")[2]
    return tag.replace("/", " ") if name == "loss" else name
