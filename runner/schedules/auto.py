"""The scheduler whose rates a range test finds before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from runner.config.by_name import SettingsOf
from runner.config.markers import OptionOf
from runner.errors import ConfigError
from runner.registry import register_scheduler
from runner.schedules.base import Schedule


@register_scheduler("auto")
def auto(
    *,
    policy: Annotated[str, OptionOf("scheduler")],
    settings: Mapping[str, Any],
    range_test: Annotated[Any, SettingsOf("task", "range_test")],
) -> Schedule:
    """A scheduler whose rates and step size a range test finds when training starts.

    It is replaced by its ``policy`` before schedules are built, as only a whole run can be tested.

    Args:
      policy: the option that gets the rates.
      settings: settings of the policy that differ from those of the option.
      range_test: the settings of the task ``range_test``.

    >>> from runner.schedules.auto import auto
    >>> auto(policy="triangular", settings={}, range_test={})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    runner.errors.ConfigError: auto finds the rates of a whole run, so it cannot be a part; ...

    Raises:
      ConfigError: always.
    """
    problem = "auto finds the rates of a whole run, so it cannot be a part"
    raise ConfigError(
        "", problem, f"choose another part, or scheduler=auto scheduler.policy={policy}"
    )
