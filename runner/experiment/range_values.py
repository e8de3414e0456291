"""Range tests for several values of a setting, in the manner of Smith (2018)."""

from collections.abc import Sequence
from dataclasses import replace

from runner.config import Choice, Config
from runner.config.groups import GroupNames
from runner.config.settings import choice
from runner.errors import ConfigError, nearest, shown
from runner.experiment.build import Experiment
from runner.experiment.check import check
from runner.experiment.range_lanes import ShortRuns
from runner.experiment.range_test import RangeTestSettings, lengths_of_test, measure
from runner.ranges import Curve

BATCH_SIZE = "batch_size"


def curves_by_value(
    experiment: Experiment,
    settings: RangeTestSettings,
    *,
    over: str,
    values: Sequence[float],
) -> dict[float, tuple[Curve, ...]]:
    """The curves of a range test with each of the ``values`` of the setting ``over``.

    Args:
      over: a number of the optimizer, or ``batch_size``.

    Raises:
      ConfigError: there is no such setting, or a value is wrong for it.
    """
    _check_setting(experiment.config, over)
    experiments = {value: _with_value(experiment, over, value) for value in _checked(values)}
    curves = {}
    for value, each in experiments.items():
        lengths = lengths_of_test(each, settings)
        with ShortRuns(each, table=lengths.steps, should_stop=lambda: False) as runs:
            curves[value], _ = measure(runs, settings, lengths)
    return curves


def _check_setting(config: Config, over: str) -> None:
    optimizer = config.optimizer
    numbers = [name for name, found in optimizer.settings if _is_number(found)]
    if over in dict(optimizer.settings) and dict(optimizer.settings)[over] is None:
        problem = f"optimizer.{over} is null"
        raise ConfigError("over", problem, f"set it, as in optimizer.{over}=0.9")
    if over not in (*numbers, BATCH_SIZE):
        problem = f"{shown(over)} is not a numeric setting of the optimizer {optimizer.option}"
        raise ConfigError("over", problem, nearest(over, [*numbers, BATCH_SIZE]))


def _checked(values: Sequence[float]) -> Sequence[float]:
    if not values:
        problem = "there are no values to compare"
        raise ConfigError("values", problem, "write a list, such as [1e-3,1e-4,0]")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ConfigError(f"values[{index}]", f"{shown(value)} is given twice", "leave it out")
    return values


def _with_value(experiment: Experiment, over: str, value: float) -> Experiment:
    config = experiment.config
    try:
        changed = experiment.changed(_config_with(config, over, value))
        check(changed)
    except ConfigError as error:
        key = f"values {value:g}: {error.key}"
        raise ConfigError(key, error.problem, error.remedy) from error
    return changed


def _config_with(config: Config, over: str, value: float) -> Config:
    if over == BATCH_SIZE:
        return replace(config, training=replace(config.training, batch_size=_whole(value)))
    return replace(config, optimizer=_optimizer_with(config, config.optimizer, over, value))


def _optimizer_with(config: Config, optimizer: Choice, over: str, value: float) -> Choice:
    section = {"name": optimizer.name, **dict(optimizer.settings), over: value}
    groups = GroupNames(tuple(config.wrappers.groups), config.wrappers.frozen)
    return choice("optimizer", section, optimizer.option, key="optimizer", groups=groups)


def _whole(value: float) -> int:
    if value != int(value) or value < 1:
        problem = f"{shown(value)} is not a whole number above 0"
        raise ConfigError(BATCH_SIZE, problem, "write one such as 64")
    return int(value)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
