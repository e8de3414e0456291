"""Schedules: pure functions from a step to a rate, as pytrees whose numbers are arrays.

Every schedule that a module here registers is an attribute of this package.
"""

from runner.registry import import_modules, is_built_in, schedulers
from runner.schedules.base import Schedule
from runner.schedules.function import FunctionSchedule

import_modules(__name__, __path__)
_registered = [schedulers.get(name) for name in sorted(schedulers._factories)]
globals().update({part.__name__: part for part in _registered if is_built_in(part)})
__all__ = ["FunctionSchedule", "Schedule", *(p.__name__ for p in _registered if is_built_in(p))]
