"""Schedules: pure functions from a step to a rate, as pytrees whose numbers are arrays."""

from runner.schedules.base import Schedule
from runner.schedules.constant import Constant
from runner.schedules.cosine import Cosine, CosineRestarts
from runner.schedules.cyclic import CyclicLR
from runner.schedules.decay import Exponential, MultiStep, Step
from runner.schedules.one_cycle import OneCycle
from runner.schedules.ramp import Linear, Polynomial
from runner.schedules.sequence import Sequence
from runner.schedules.triangular import triangular_lr
from runner.schedules.warmup_cosine import WarmupCosine

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "CyclicLR",
    "Exponential",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Schedule",
    "Sequence",
    "Step",
    "WarmupCosine",
    "triangular_lr",
]
