"""Warnings about an experiment before it runs."""

from collections.abc import Iterator

import jax
import numpy as np

from runner.config import Choice
from runner.config.by_name import Parts
from runner.config.markers import InSteps
from runner.config.signature import markers
from runner.errors import INT32_MAX
from runner.experiment.build import Experiment
from runner.registry import is_built_in, schedulers
from runner.schedules import CyclicLR, Schedule

# Smith (2017), section 3.2: a half cycle of 2 to 10 epochs works well.
FEWEST_EPOCHS, MOST_EPOCHS = 2, 10
# Bounds further apart than this factor are more likely a typing error than a measured range.
WIDEST = 100
# The rate is at its low point within this share of its range.
NEAR = 0.05
# A run is advised to be at most this many times as long, if something else would help.
MOST_TIMES = 4
# Optimizers that learn little or nothing at the default rates, which suit sgd.
ADAPTIVE = frozenset(
    [
        "adabelief",
        "adam",
        "adamw",
        "adan",
        "ademamix",
        "adopt",
        "amsgrad",
        "lamb",
        "lion",
        "nadam",
        "nadamw",
        "rmsprop",
        "signum",
        "yogi",
    ]
)
# Adam's usual rate is 0.001.
HIGHEST_ADAPTIVE = 0.02


def warnings(experiment: Experiment) -> list[str]:
    """One line per warning, each naming the key and a better value."""
    schedule, lengths = experiment.schedule, experiment.lengths
    found = _unfinished_cycle(experiment) + _unfinished_lookahead(experiment)
    for key, choice, part in _cyclic_parts(experiment.config.scheduler, schedule):
        found += _half_cycles(key, choice, part, lengths.steps_per_epoch)
        found += _bounds(key, choice, part)
        found += _high_rate(key, part, experiment)
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


def _unfinished_cycle(experiment: Experiment) -> list[str]:
    schedule, steps = experiment.schedule, experiment.lengths.steps
    nearest = nearest_cycle_ends(schedule, steps)
    # After its last cycle a schedule is not in a cycle.
    if not nearest or nearest[0] == steps or nearest[-1] < steps:
        return []
    if _is_low(schedule, steps - 1, *([0, *nearest][-2:])):
        return []
    # A far longer run is not what the user wants, if the cycles can be fitted to this one.
    fitted = _fitted_halves(experiment.config.scheduler, schedule, steps)
    lengths = [end for end in nearest if end <= MOST_TIMES * steps or not fitted]
    remedies = [*fitted, *(f"training.steps={end}" for end in lengths)]
    return [
        f"training: the run of {steps:,} steps ends in the middle of a cycle, where the rate is "
        f"not at its low point; {' or '.join(remedies)} ends with a cycle"
    ]


def _is_low(schedule: Schedule, step: int, start: int, end: int) -> bool:
    """Whether the rate at ``step`` is about as low as any in the cycle from ``start`` to ``end``.

    A length that is a share of the run is rounded, so the run may end some steps off.
    """
    cycle = np.linspace(start, min(end, INT32_MAX), 999).round().astype(np.int64)
    rates = np.asarray(jax.vmap(schedule)(np.append(cycle, step)))
    low, high = rates[:-1].min(0), rates[:-1].max(0)
    return bool(np.all(rates[-1] <= low + NEAR * (high - low)))


def _fitted_halves(scheduler: Choice, schedule: Schedule, steps: int) -> list[str]:
    """Half cycles as shares of the run, if with these the run ends with a cycle.

    The cycles keep their proportions, and become at most a little shorter.
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


def _unfinished_lookahead(experiment: Experiment) -> list[str]:
    period = experiment.config.wrappers.lookahead.sync_period
    steps = experiment.lengths.steps
    left = steps % period if period is not None else 0
    if left == 0 or experiment.config.training.ema_decay is not None:
        return []
    return [
        f"optimizer.lookahead.sync_period: the last {left:,} updates do not reach the slow "
        "parameters, which are the ones evaluated; "
        f"training.steps={steps - left} ends with a synchronisation"
    ]


def _cyclic_parts(
    scheduler: Choice, schedule: Schedule, key: str = "scheduler"
) -> Iterator[tuple[str, Choice, CyclicLR]]:
    """The key, choice and schedule of every cyclic schedule within ``schedule``."""
    if isinstance(schedule, CyclicLR):
        yield key, scheduler, schedule
    for name in markers(schedulers.get(scheduler.name), Parts):
        choices = getattr(scheduler.settings, name).items()
        for (part_name, choice), part in zip(choices, getattr(schedule, name), strict=True):
            yield from _cyclic_parts(choice, part, f"{key}.{name}.{part_name}")


def _half_cycles(key: str, choice: Choice, schedule: CyclicLR, steps_per_epoch: int) -> list[str]:
    factory = schedulers.get(choice.name)
    if not is_built_in(factory):  # a plugin's lengths may mean something else
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
            found.append(
                f"{key}.{name}: {epochs:.3g} epochs; {FEWEST_EPOCHS} to {MOST_EPOCHS} epochs "
                f"({FEWEST_EPOCHS * steps_per_epoch} to {MOST_EPOCHS * steps_per_epoch} steps) "
                "work best in Smith's experiments"
            )
    return found


def _bounds(key: str, choice: Choice, schedule: CyclicLR) -> list[str]:
    lows, highs = np.ravel(schedule.lr.low).tolist(), np.ravel(schedule.lr.high).tolist()
    found = []
    for base_lr, max_lr in sorted(set(zip(lows, highs, strict=True))):
        if base_lr > 0 and max_lr > WIDEST * base_lr:
            found.append(
                f"{key}.max_lr: {max_lr:g} is {max_lr / base_lr:,.4g} times base_lr {base_lr:g}; "
                "usual bounds lie within a factor of 3 to 20"
            )
        if max_lr == base_lr:
            found.append(f"{key}.max_lr: {max_lr:g} equals base_lr, so the rate is constant")
    settings = choice.settings
    if choice.name == "cyclic" and settings.mode == "exp_range" and settings.gamma > 1:
        found.append(f"{key}.gamma: {settings.gamma:g} is above 1, so the cycles grow without end")
    return found


def _high_rate(key: str, schedule: CyclicLR, experiment: Experiment) -> list[str]:
    """Optimizers that divide by the size of the gradient need far lower rates than sgd."""
    multiplier = np.asarray(experiment.hyperparams.wrappers.multiplier)
    highest = float(np.max(schedule.lr.high * multiplier))
    option = experiment.config.optimizer.option
    if experiment.static.optimizer.name not in ADAPTIVE or highest <= HIGHEST_ADAPTIVE:
        return []
    return [
        f"{key}.max_lr: {highest:g} is high for {option}, which may not learn at that rate; "
        f"try {key}.base_lr=0.0001 {key}.max_lr=0.002"
    ]
