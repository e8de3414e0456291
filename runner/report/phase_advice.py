"""Warnings about schedules that are cut off, stay constant at their end, or jump between parts."""

from itertools import pairwise

import jax
import numpy as np

from runner.config.by_name import PerGroup
from runner.config.markers import InSteps
from runner.config.signature import markers
from runner.config.types import AtMost
from runner.registry import schedulers
from runner.report.schedule_parts import Part, direct_parts
from runner.schedules import Sequence

# Differences up to this share, of rates or of lengths, give no warning.
SLACK = 0.05


def misfit(part: Part) -> list[str]:
    """Warns of a schedule that is cut off before it settles, or settles long before the end."""
    settled, steps = part.schedule.settled_at, part.steps
    if direct_parts(part) or settled is None or steps == 0:
        return []
    rates, last, final = _rates(part, [*_spread(steps)]), _rates(part, steps), _rates(part, settled)
    key, length = f"{part.key}.{_length_setting(part)}".removesuffix("."), _owner(part)
    # ``unfinished_cycle`` warns about a cycle that the run does not complete.
    is_cycle = not part.has_successor and bool(part.schedule.cycle_ends(settled + 1))
    if settled > steps and not is_cycle and _differ(last, final, rates):
        return [
            f"{key}: the schedule takes {settled:,} steps, so {length} of {steps:,} steps cuts it "
            f"off at a rate of {_text(last)}, not {_text(final)}{_remedy(part, key)}"
        ]
    rest = steps - settled
    decayed = part.has_successor or bool(np.any(final < rates.max(0) * (1 - SLACK)))
    if part.schedule.staged or not decayed or rest <= max(SLACK * steps, 1):
        return []
    return [
        f"{key}: the rate stays at {_text(final)} for the last {rest:,} of {steps:,} steps of "
        f"{length} ({rest / steps:.0%}){_remedy(part, key)}"
    ]


def seams(part: Part) -> list[str]:
    """Warns of each part of a sequence whose first rate is not the last of the part before."""
    if not isinstance(part.schedule, Sequence):
        return []
    found, start = [], 0
    for before, after in pairwise([inner for inner in direct_parts(part) if inner.steps]):
        start += before.steps
        end, first = _rates(before, before.steps), _rates(after, 0)
        if _differ(end, first, np.stack(np.broadcast_arrays(end, first))):
            found.append(
                f"{part.key}: the rate jumps from {_text(end)} to {_text(first)} at step "
                f"{start:,}, where {after.key} begins; change the rates or the lengths of the "
                "parts, unless the jump is intended"
            )
    return found


def equal_rates(part: Part) -> list[str]:
    """Warns of two bounds of a rate that are equal."""
    factory, settings = schedulers.get(part.choice.name), part.choice.settings
    found = []
    for name, bound in markers(factory, AtMost).items():
        value = getattr(settings, name, None)
        if name in markers(factory, PerGroup) and value and value == getattr(settings, bound.other):
            shown = " and ".join(f"{rate:g}" for rate in np.ravel(value).tolist())
            problem = f"{shown} equals {bound.other}"
            found.append(f"{part.key}.{name}: {problem}, so the rate does not change between them")
    return found


def _spread(steps: int) -> list[int]:
    return np.linspace(0, steps, 199).round().astype(int).tolist()


def _rates(part: Part, steps: int | list[int]) -> np.ndarray:
    """The rates at ``steps``: [groups] or a scalar at one step, with a leading axis at several."""
    if isinstance(steps, int):
        return np.asarray(part.schedule(steps))
    return np.asarray(jax.vmap(part.schedule)(np.array(steps)))


def _differ(one: np.ndarray, other: np.ndarray, rates: np.ndarray) -> bool:
    return bool(np.any(np.abs(one - other) > SLACK * rates.max(0)))


def _length_setting(part: Part) -> str:
    """The setting that says when the rate settles; empty if there is none of that length."""
    settled = part.schedule.settled_at or 0
    for name in markers(schedulers.get(part.choice.name), InSteps):
        if int(getattr(part.schedule, name, -1)) in (settled, settled + 1):
            return name
    return ""


def _owner(part: Part) -> str:
    return "the part" if ".parts." in part.key else "the run"


def _remedy(part: Part, key: str) -> str:
    return "" if key == part.key else f"; {key}=100% fits it"


def _text(rates: np.ndarray) -> str:
    return " and ".join(f"{rate:.3g}" for rate in np.ravel(rates).tolist())
