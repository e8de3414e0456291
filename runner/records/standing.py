"""Where a run stands, in the words and figures that its progress display shows."""

import time
from collections.abc import Mapping

from runner.tags import CYCLE, LOSS, RATE, group_of, is_rate

# The rates of more groups would not fit on a line.
_MOST_RATES = 3


class Standing:
    """The latest figures of a run of ``total`` updates, formatted."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.step = 0
        self.values: list[tuple[str, str]] = []
        self.metrics: list[tuple[str, str]] = []
        self._started = time.perf_counter()
        self._first: tuple[int, float] | None = None
        self._steps_per_second: float | None = None

    def update(
        self, step: int, values: Mapping[str, float], steps_per_second: float | None
    ) -> None:
        self.step, self._steps_per_second = step, steps_per_second
        if self._first is None:
            self._first = step, time.perf_counter()
        labels = {LOSS: "loss", RATE: "rate", **_group_rates(values), CYCLE: "cycle"}
        shown = {tag: label for tag, label in labels.items() if tag in values}
        self.values = [(label, number(values[tag])) for tag, label in shown.items()]

    def evaluation(self, metrics: Mapping[str, float]) -> None:
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

        Told from the wall time since the first news, which holds no compilation but does hold
        the evaluations that ``steps_per_second`` leaves out.
        """
        now = time.perf_counter()
        if self.step >= self.total:
            return f"in {duration(now - self._started)}"
        if self._first is None or self.step == self._first[0]:
            return ""
        step, then = self._first
        return f"{duration((self.total - self.step) * (now - then) / (self.step - step))} left"


def _group_rates(values: Mapping[str, float]) -> dict[str, str]:
    """Tag → label of the rates of groups, as many as fit."""
    tags = [tag for tag in values if is_rate(tag) and tag != RATE]
    return {tag: f"rate {group_of(tag)}" for tag in tags[:_MOST_RATES]}


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
