"""Where a run stands, in the words and figures that its progress display shows."""

import time
from collections.abc import Mapping

from runner.report.text import shortened
from runner.training.tags import CYCLE, LOSS, RATE, group_of, is_rate

# The rates of more groups would not fit on a line.
_MOST_RATES = 3
_LABEL = 12
# The time left is told from no less than this: a few early chunks say little about the others.
_PACE_SECONDS = 0.2


class Standing:
    """The latest figures of a run of ``total`` updates, formatted."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.step = 0
        self.values: list[tuple[str, str]] = []
        self.metrics: list[tuple[str, str]] = []
        self._started = time.perf_counter()
        # The step and the time that the pace is counted from.
        self._since: tuple[int, float] | None = None
        self._told_at = self._started
        self._steps_per_second: float | None = None

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self.step, self._steps_per_second = step, steps_per_second
        self._told_at = time.perf_counter()
        if self._since is None:
            self._since = step, self._told_at
        labels = {LOSS: "loss", RATE: "rate", **_group_rates(values), CYCLE: "cycle"}
        shown = {tag: label for tag, label in labels.items() if tag in values}
        self.values = [(label, number(values[tag])) for tag, label in shown.items()]

    def evaluation(self, metrics: Mapping[str, float]) -> None:
        then, self._told_at = self._told_at, time.perf_counter()
        if self._since is not None and not self.metrics:  # the first, which was compiled just now
            step, since = self._since
            self._since = step, since + self._told_at - then
        self.metrics = [(_short(tag), number(value)) for tag, value in metrics.items()]

    def share(self) -> str:
        return f"{100 * self.step // self.total:3d}%"

    def count(self) -> str:
        total = f"{self.total:,}"
        return f"{self.step:{len(total)},}/{total}"

    def speed(self) -> str:
        """Steps per second; empty until there is a figure."""
        rate = self._steps_per_second
        if rate is None:
            return ""
        return f"{rate:,.0f} steps/s" if rate >= 100 else f"{rate:.3g} steps/s"

    def clock(self) -> str:
        """The time left (empty until it can be told), or at the end the time it took.

        Told from the wall time between the first and the last news, without the first evaluation:
        it holds no compilation, but does hold the evaluations that ``steps_per_second`` leaves out.
        """
        if self.step >= self.total:
            return f"in {duration(time.perf_counter() - self._started)}"
        step, since = self._since or (self.step, self._told_at)
        steps, seconds = self.step - step, self._told_at - since
        if steps == 0 or seconds < _PACE_SECONDS:
            return ""
        return f"{duration((self.total - self.step) * seconds / steps)} left"


def _group_rates(values: Mapping[str, float]) -> dict[str, str]:
    """Tag → label of the rates of groups, as many as fit."""
    tags = [tag for tag in values if is_rate(tag) and tag != RATE]
    return {tag: f"rate {shortened(group_of(tag), _LABEL)}" for tag in tags[:_MOST_RATES]}


def _short(tag: str) -> str:
    """``eval/accuracy`` → ``accuracy``, but ``eval loss`` where ``loss`` alone means another."""
    name = tag.rpartition("/")[2]
    return tag.replace("/", " ") if name == "loss" else name


def number(value: float) -> str:
    """Four significant digits, whole numbers as such: ``0.08430``, ``1.250e-05``, ``3``."""
    if isinstance(value, int):
        return str(value)
    return f"{value:#.4g}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:00:00``, ``2d 3:00:00``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
