"""Warnings about cycles that do not fit the run, or have an unusual length."""

import jax
import numpy as np

from runner.config import Choice
from runner.config.markers import InSteps
from runner.config.signature import markers
from runner.errors import INT32_MAX
from runner.experiment.build import Experiment
from runner.registry import is_built_in, schedulers
from runner.report.schedule_parts import Part
from runner.schedules import CyclicLR, Schedule

# Smith (2017), section 3.2: a half cycle of 2 to 10 epochs works well.
FEWEST_EPOCHS, MOST_EPOCHS = 2, 10
# The rate is at its low point within this share of its range.
NEAR = 0.05
# The same where rounding shares of the run to whole steps makes cycles a little too long or short.
NEAR_ROUNDED = 0.3
# A longer run is suggested only up to this factor, if there is another remedy.
MOST_TIMES = 4


def unfinished_cycle(experiment: Experiment) -> list[str]:
    """Warns of a run that ends in the middle of a cycle, and suggests settings that avoid it."""
    schedule, steps = experiment.schedule, experiment.lengths.steps
    nearest = nearest_cycle_ends(schedule, steps)
    # A run that ends after the last cycle of its schedule does not cut a cycle off.
    if not nearest or nearest[0] == steps or nearest[-1] < steps:
        return []
    near = NEAR_ROUNDED if _is_rounded(experiment, nearest) else NEAR
    if _is_low(schedule, steps - 1, *([0, *nearest][-2:]), near=near):
        return []
    # A far longer run is not what the user wants, if the cycles can be fitted to this one.
    fitted = _fitted_halves(experiment.config.scheduler, schedule, steps)
    lengths = [end for end in nearest if end <= MOST_TIMES * steps or not fitted]
    remedies = [*fitted, *(f"training.steps={end}" for end in lengths)]
    return [
        f"training: the run of {steps:,} steps ends in the middle of a cycle, where the rate is "
        f"not at its low point; {' or '.join(remedies)} ends with a cycle"
    ]


def half_cycles(part: Part, steps_per_epoch: int) -> list[str]:
    """Warns of half cycles whose length in epochs is unusual."""
    choice, schedule = part.choice, part.schedule
    factory = schedulers.get(choice.name)
    if not (
        isinstance(schedule, CyclicLR) and is_built_in(factory)
    ):  # a plugin's lengths may mean something else
        return []
    halves = schedule.step_size_up, schedule.step_size_down
    found = []
    for name, size in zip(markers(factory, InSteps), halves, strict=False):
        length = getattr(choice.settings, name)
        # A share of the run is chosen for the number of cycles.
        if length is None or (isinstance(length, str) and "%" in length):
            continue
        epochs = int(size) / steps_per_epoch
        if not FEWEST_EPOCHS <= epochs <= MOST_EPOCHS:
            length = "1 epoch" if epochs == 1 else f"{epochs:.3g} epochs"
            found.append(
                f"{part.key}.{name}: {length}; {FEWEST_EPOCHS} to {MOST_EPOCHS} epochs "
                f"({FEWEST_EPOCHS * steps_per_epoch} to {MOST_EPOCHS * steps_per_epoch} steps) "
                "work best in Smith's experiments"
            )
    return found


def nearest_cycle_ends(schedule: Schedule, steps: int) -> list[int]:
    """The nearest lengths below and above ``steps`` at which a cycle is complete, if any."""
    horizon = steps
    ends = schedule.cycle_ends(horizon)
    below = list(ends[-1:])
    while horizon < INT32_MAX and not (ends and ends[-1] > steps):
        horizon = min(2 * horizon, INT32_MAX)
        ends = schedule.cycle_ends(horizon)
    return below + list(ends[len(schedule.cycle_ends(steps)) :][:1])


def _is_rounded(experiment: Experiment, nearest: list[int]) -> bool:
    """Whether only the rounding of shares of the run keeps it from ending with a cycle.

    Each half cycle is rounded by up to half a step, a cycle by a step.
    """
    config, schedule, steps = experiment.config, experiment.schedule, experiment.lengths.steps
    lengths = [value for key, value in config.hparams.items() if key.startswith("scheduler.")]
    # The default lengths of the policy that scheduler=auto trains with are shares.
    has_shares = config.auto is not None or any(str(value).endswith("%") for value in lengths)
    return has_shares and any(abs(end - steps) <= len(schedule.cycle_ends(end)) for end in nearest)


def _is_low(schedule: Schedule, step: int, start: int, end: int, *, near: float) -> bool:
    """Whether the rate at ``step`` is about as low as any in the cycle from ``start`` to ``end``.

    ``near``: how far above the lowest rate it may be, as a share of the range.
    """
    cycle = np.linspace(start, min(end, INT32_MAX), 999).round().astype(np.int64)
    rates = np.asarray(jax.vmap(schedule)(np.append(cycle, step)))
    low, high = rates[:-1].min(0), rates[:-1].max(0)
    return bool(np.all(rates[-1] <= low + near * (high - low)))


def _fitted_halves(scheduler: Choice, schedule: Schedule, steps: int) -> list[str]:
    """Shares of the run for the half cycles that make it end with a cycle; empty if none do.

    The cycles keep their proportions and become longer, or slightly shorter.
    """
    factory = schedulers.get(scheduler.name)
    if not (isinstance(schedule, CyclicLR) and is_built_in(factory)):
        return []
    halves = int(schedule.step_size_up), int(schedule.step_size_down)
    sizes = {
        name: half
        for name, half in zip(markers(factory, InSteps), halves, strict=False)
        if getattr(scheduler.settings, name) is not None
    }
    for count in range(max(round(steps / sum(halves)), 1), 0, -1):
        shares = {name: f"{100 * half / sum(halves) / count:.4g}%" for name, half in sizes.items()}
        fitted = [max(round(float(share[:-1]) / 100 * steps), 1) for share in shares.values()]
        rest = steps - count * sum(fitted * (2 // max(len(fitted), 1)))
        if sizes and (rest in (0, 1) or abs(rest) <= NEAR / 2 * steps / count):
            return [" ".join(f"scheduler.{name}={share}" for name, share in shares.items())]
    return []
