"""Schedules: pure functions from a step to a rate, as pytrees whose numbers are arrays.

Every schedule that a module here registers is an attribute of this package.
"""

from runner.registry import import_modules, schedulers
from runner.schedules.base import Schedule as Schedule
from runner.schedules.function import FunctionSchedule as FunctionSchedule

import_modules(__name__, __path__)
_built_in = {factory.__name__: factory for factory in schedulers.built_in().values()}
globals().update(_built_in)
__all__ = sorted(["FunctionSchedule", "Schedule", *_built_in])  # pyright: ignore
