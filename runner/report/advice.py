"""Warnings about an experiment before it runs."""

import numpy as np

from runner.config import Choice
from runner.config.default_rates import scaled
from runner.experiment.build import Experiment
from runner.registry import rate_scale_of
from runner.report.cycle_advice import half_cycles, unfinished_cycle
from runner.report.phase_advice import equal_rates, misfit, seams
from runner.report.schedule_parts import all_parts
from runner.report.text import plain
from runner.schedules import CyclicLR

# Bounds further apart than this factor are more likely a typing error than a measured range.
WIDEST = 100
# For sgd: a typical low and high rate, and the highest without a warning; scaled for others.
LOW_RATE, HIGH_RATE, HIGHEST_RATE = 0.01, 0.2, 2.0


def warnings(experiment: Experiment) -> list[str]:
    """One line per warning, each naming the key and, if there is one, a better value."""
    lengths = experiment.lengths
    found = unfinished_cycle(experiment) + _unfinished_lookahead(experiment)
    for part in all_parts(experiment.config.scheduler, experiment.schedule, lengths.steps):
        if isinstance(part.schedule, CyclicLR):
            found += half_cycles(part, lengths.steps_per_epoch)
            found += _bounds(part.key, part.choice, part.schedule)
            if experiment.config.auto is None:  # a range test has tried the rates of auto
                found += _high_rate(part.key, part.schedule, experiment)
        else:
            found += equal_rates(part)
            found += misfit(part)
            found += seams(part)
    return found


def _unfinished_lookahead(experiment: Experiment) -> list[str]:
    period = experiment.config.wrappers.lookahead.sync_period
    steps = experiment.lengths.steps
    left = steps % period if period is not None else 0
    if left == 0 or experiment.config.training.ema_decay is not None:
        return []
    return [
        f"optimizer.lookahead.sync_period: the last {left:,} updates do not reach the slow "
        "parameters, which are used for evaluation; "
        f"training.steps={steps - left} ends with a synchronisation"
    ]


def _bounds(key: str, choice: Choice, schedule: CyclicLR) -> list[str]:
    lows, highs = np.ravel(schedule.lr.low).tolist(), np.ravel(schedule.lr.high).tolist()
    found = []
    for base_lr, max_lr in sorted(set(zip(lows, highs, strict=True))):
        if base_lr > 0 and max_lr > WIDEST * base_lr:
            ratio = plain(float(f"{max_lr / base_lr:.4g}"))  # base_lr is rounded to float32
            found.append(
                f"{key}.max_lr: {max_lr:g} is {ratio} times base_lr {base_lr:g}; "
                "usual bounds lie within a factor of 3 to 20"
            )
        if max_lr == base_lr:
            found.append(f"{key}.max_lr: {max_lr:g} equals base_lr, so the rate is constant")
    settings = choice.settings
    if choice.name == "cyclic" and settings.mode == "exp_range" and settings.gamma > 1:
        found.append(f"{key}.gamma: {settings.gamma:g} is above 1, so the cycles grow without end")
    return found


def _high_rate(key: str, schedule: CyclicLR, experiment: Experiment) -> list[str]:
    """Warns of rates that suit sgd, for an optimizer whose declared scale is far lower."""
    multiplier = np.asarray(experiment.hyperparams.wrappers.multiplier)
    highest = float(np.max(schedule.lr.high * multiplier))
    option = experiment.config.optimizer.option
    scale = rate_scale_of(experiment.static.optimizer.name)
    if scale >= 1 or highest <= HIGHEST_RATE * scale:
        return []
    low, high = scaled(LOW_RATE, scale), scaled(HIGH_RATE, scale)
    return [
        f"{key}.max_lr: {highest:g} is high for {option}, which may not learn at that rate; "
        f"try {key}.base_lr={low:g} {key}.max_lr={high:g}"
    ]
