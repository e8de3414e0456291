"""Schedules: pure functions from a step to a rate, as pytrees whose numbers are arrays."""

from runner.schedules.base import Schedule
from runner.schedules.constant import Constant
from runner.schedules.cyclic import CyclicLR

__all__ = ["Constant", "CyclicLR", "Schedule"]
