"""Gives a scheduler the rates and the cycle length that a range test suggests."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from runner import registry
from runner.config import Choice
from runner.config.by_name import Parts, PerGroup
from runner.config.default_rates import scaled
from runner.config.markers import Series
from runner.config.signature import Settings, markers
from runner.experiment.lengths import Lengths
from runner.experiment.schedule import Clock
from runner.ranges import Answer

# Significant digits of a suggested rate: more than a range test can resolve.
_DIGITS = 3
# The length of a cycle may change by up to this factor to fit the run.
_STRETCH = 1.6
# A run has about four cycles or more, and never fewer than three: Smith (2017, section 3.2) finds
# that three are enough to train most of the way.
_LONGEST_SHARE = 1 / 4
_FEWEST_CYCLES = 3


def suggested_scheduler(
    scheduler: Choice, answer: Answer, lengths: Lengths, *, kept: Collection[str] = ()
) -> Choice:
    """``scheduler`` with the bounds and the step size of ``answer``.

    What a scheduler takes depends on the names of its settings:

    * ``base_lr`` and ``max_lr``: both bounds;
    * ``max_lr`` alone, or ``base_lr`` alone: the upper bound. All other rates that it has, such as
      ``eta_min``, keep their ratio to it;
    * neither, as in a sequence: all rates keep their ratios, and the highest is the upper bound;
    * with both bounds, ``step_size_up`` or ``step_size``: the step size, fitted to whole cycles
      within the run, of which there are about four or more. If one of its lengths is ``kept``, all
      stay as they are.

    With parameter groups, a bound is the highest of the groups, and the other groups keep their
    ratios to it.

    Args:
      lengths: of the run.
      kept: lengths of the cycle that stay as they are.
    """
    settings = dict(scheduler.settings)
    if "base_lr" in settings and "max_lr" in settings:
        settings |= _bounds(settings, answer)
    elif main := next((name for name in ("max_lr", "base_lr") if name in settings), None):
        factor = _ratio(answer.max_lr, settings[main])
        rates = {name: settings[name] for name in _rate_names(scheduler)}
        settings |= _scaled(rates, factor)
        settings[main] = _with_highest(settings[main], answer.max_lr)
    else:
        factor = _ratio(answer.max_lr, max(_all_rates(scheduler), default=0.0))
        settings = dict(_all_scaled(scheduler, factor).settings)
    if not kept and "base_lr" in settings and "max_lr" in settings:
        settings |= _cycle(settings, answer, lengths)
    return replace(scheduler, settings=Settings(**settings))


def group_factors(scheduler: Choice) -> Any:
    """The rate of each parameter group relative to the highest: a number, or a tuple [groups].

    1 if the scheduler has one rate for all groups.
    """
    rates = _all_values(scheduler)
    count = max(len(_listed(value)) for value in rates) if rates else 1
    by_group = [value if isinstance(value, tuple) else (value,) * count for value in rates]
    highest = tuple(max(group) for group in zip(*by_group, strict=True))
    if len(set(highest)) == 1 or max(highest) <= 0:
        return 1.0
    return tuple(rate / max(highest) for rate in highest)


def option_of(scheduler: Choice) -> dict[str, Any]:
    """The scheduler as a section of a configuration: its name and all its settings, plain."""
    return {
        "name": scheduler.name,
        **{name: _plain(value) for name, value in scheduler.settings},
    }


def changes(before: Choice, after: Choice) -> list[str]:
    """Overrides that turn one scheduler into another of its kind: ``scheduler.max_lr=0.1``."""
    old, new = (_by_key(option_of(scheduler)) for scheduler in (before, after))
    return [f"scheduler.{key}={_text(new[key])}" for key in new if new[key] != old.get(key)]


def _by_key(section: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a section by their keys, such as ``parts.warmup.max_lr``."""
    found = {}
    for name, value in section.items():
        inner = _by_key(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{name}.{key}".removesuffix("."): item for key, item in inner.items()}
    return found


def _text(value: Any) -> str:
    """A value of a scheduler in Hydra's grammar of overrides."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return option_of(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _bounds(settings: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    # Lower bounds of 0 have no ratios between groups; those of the upper bounds are used instead.
    low = settings["base_lr"] if max(_listed(settings["base_lr"])) > 0 else settings["max_lr"]
    high = _with_highest(settings["max_lr"], answer.max_lr)
    low = _with_highest(low, answer.base_lr)
    if isinstance(low, tuple) or isinstance(high, tuple):
        count = max(len(_listed(low)), len(_listed(high)))
        lows, highs = (
            value if isinstance(value, tuple) else (value,) * count for value in (low, high)
        )
        low = tuple(map(min, lows, highs))
    return {"base_lr": low, "max_lr": high}


def _cycle(settings: Mapping[str, Any], answer: Answer, lengths: Lengths) -> dict[str, Any]:
    """The half cycles, so that whole cycles fill the run as far as possible."""
    up = next((name for name in ("step_size_up", "step_size") if name in settings), None)
    if up is None:
        return {}
    wanted = 2 * answer.step_size_epochs * lengths.steps_per_epoch
    is_symmetric = "step_size_down" not in settings
    wanted = min(wanted, _LONGEST_SHARE * lengths.steps)
    length = _cycle_length(wanted, lengths.steps, multiple=2 if is_symmetric else 1)
    down = settings.get("step_size_down")
    share = 0.5
    if down is not None:  # the descent keeps its share of a cycle
        clock = Clock(lengths.steps_per_epoch, lengths.steps)
        halves = [clock.to_steps(settings[name], name) for name in (up, "step_size_down")]
        share = halves[0] / sum(halves)
    rising = min(max(math.floor(share * length), 1), length - 1)
    found = {up: rising}
    if not is_symmetric and (down is not None or 2 * rising != length):
        found["step_size_down"] = length - rising
    return {name: _in_epochs(half, lengths.steps_per_epoch) for name, half in found.items()}


def _in_epochs(steps: int, steps_per_epoch: int) -> str:
    """The length in epochs, in the fewest digits that give that many ``steps``."""
    exact = steps / steps_per_epoch
    texts = (f"{exact:.{digits}f}" for digits in range(20))
    return next(f"{text}ep" for text in texts if round(float(text) * steps_per_epoch) == steps)


def _cycle_length(wanted: float, steps: int, *, multiple: int) -> int:
    """A cycle of about ``wanted`` steps, if possible one that divides the run evenly.

    The length is a multiple of ``multiple``.
    """
    most = max(round(steps / (wanted / _STRETCH)), _FEWEST_CYCLES)
    least = max(round(steps / (wanted * _STRETCH)), _FEWEST_CYCLES)
    count = min(
        range(least, most + 1),
        key=lambda count: (steps % (count * multiple) != 0, abs(steps / count - wanted)),
    )
    return max(steps // count // multiple * multiple, 2)


def _all_scaled(scheduler: Choice, factor: float) -> Choice:
    """The scheduler with all rates, those of its parts included, times ``factor``."""
    settings = dict(scheduler.settings)
    settings |= _scaled({name: settings[name] for name in _rate_names(scheduler)}, factor)
    for name in markers(registry.schedulers.get(scheduler.name), Parts):
        parts = settings[name].items()
        settings[name] = {part: _all_scaled(choice, factor) for part, choice in parts}
    return replace(scheduler, settings=Settings(**settings))


def _all_rates(scheduler: Choice) -> list[float]:
    return [rate for value in _all_values(scheduler) for rate in _listed(value)]


def _all_values(scheduler: Choice) -> list[Any]:
    """All rates, those of the scheduler's parts included: each a number, or one for each group."""
    factory, found = registry.schedulers.get(scheduler.name), []
    series = markers(factory, Series)
    for name in _rate_names(scheduler):
        value = getattr(scheduler.settings, name)
        found += value if name in series and value is not None else [value]
    for name in markers(factory, Parts):
        for choice in getattr(scheduler.settings, name).values():
            found += _all_values(choice)
    return [value for value in found if value is not None]


def _rate_names(scheduler: Choice) -> list[str]:
    factory = registry.schedulers.get(scheduler.name)
    found = [name for name, marker in markers(factory, PerGroup).items() if marker.noun == "rates"]
    series = markers(factory, Series).items()
    return found + [name for name, marker in series if isinstance(marker.item, PerGroup)]


def _scaled(rates: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {name: _times(value, factor) for name, value in rates.items() if value is not None}


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_times(item, factor) for item in value)
    return scaled(value, factor)


def _with_highest(rates: Any, highest: float) -> Any:
    """``rates`` scaled so that the highest is ``highest``, rounded."""
    rounded = float(f"{highest:.{_DIGITS}g}")
    if not isinstance(rates, tuple) or max(rates) <= 0:
        return rounded
    return _times(rates, rounded / max(rates))


def _ratio(highest: float, rates: Any) -> float:
    before = max(_listed(rates))
    return float(f"{highest:.{_DIGITS}g}") / before if before > 0 else 1.0


def _listed(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
