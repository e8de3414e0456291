"""Names, numbers, durations and paths as text for people."""

import os
from pathlib import Path


def shortened(name: str, length: int) -> str:
    """``name``, or as much of its beginning and its end as fits in ``length`` characters."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def number(value: float) -> str:
    """Four significant digits, whole numbers as such: ``0.08430``, ``1.250e-05``, ``3889``."""
    if isinstance(value, int):
        return str(value)
    return f"{value:#.4g}".removesuffix(".")


def metric_value(name: str, value: float) -> str:
    """A metric by its name or tag: ``97.50%`` for an accuracy, else ``0.0843`` or ``3.21e-05``."""
    if "accuracy" in name:
        return f"{value:.2%}"
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def pace(steps_per_second: float) -> str:
    """``4,600 steps/s``, ``0.17 steps/s``."""
    rate = steps_per_second
    return f"{rate:,.0f} steps/s" if rate >= 100 else f"{rate:.3g} steps/s"


def counted(value: float, noun: str, *, plural: str = "") -> str:
    """A number and what it counts: ``1 epoch``, ``2.7 epochs``, ``4,000 batches``."""
    text = plain(value)
    return f"{text} {noun}" if text == "1" else f"{text} {plural or noun + 's'}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:00:00``, ``2d 3:00:00``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def plain(value: float) -> str:
    """At most one decimal: ``2.7``, ``40``, ``4,000``."""
    return f"{value:,.1f}".removesuffix(".0")


def short_path(folder: Path) -> str:
    """``folder`` relative to the current one, where it lies below that."""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative
