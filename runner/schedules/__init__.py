"""Schedules: pure functions from a step to a rate, as pytrees whose numbers are arrays.

Every schedule that a module here registers is an attribute of this package; ``auto``, which only a
run can build, is not.
"""

from runner.config.markers import OptionOf
from runner.config.signature import markers
from runner.registry import import_modules, schedulers
from runner.schedules.base import Schedule as Schedule
from runner.schedules.function import FunctionSchedule as FunctionSchedule

import_modules(__name__, __path__)
_built_in = {
    factory.__name__: factory
    for factory in schedulers.built_in().values()
    if not markers(factory, OptionOf)
}
globals().update(_built_in)
__all__ = sorted(["FunctionSchedule", "Schedule", *_built_in])  # pyright: ignore
