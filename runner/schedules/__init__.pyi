# Written by docs/stub.py: run it again after adding a schedule.

from runner.schedules.base import Schedule as Schedule
from runner.schedules.chained import Chained as Chained
from runner.schedules.constant import Constant as Constant
from runner.schedules.cosine import Cosine as Cosine
from runner.schedules.cosine_restarts import CosineRestarts as CosineRestarts
from runner.schedules.cyclic import CyclicLR as CyclicLR
from runner.schedules.exponential import Exponential as Exponential
from runner.schedules.flat_cosine import FlatCosine as FlatCosine
from runner.schedules.function import FunctionSchedule as FunctionSchedule
from runner.schedules.inverse_sqrt import InverseSqrt as InverseSqrt
from runner.schedules.linear import Linear as Linear
from runner.schedules.multistep import MultiStep as MultiStep
from runner.schedules.one_cycle import OneCycle as OneCycle
from runner.schedules.piecewise import Piecewise as Piecewise
from runner.schedules.plateau import ReduceOnPlateau as ReduceOnPlateau
from runner.schedules.polynomial import Polynomial as Polynomial
from runner.schedules.rex import Rex as Rex
from runner.schedules.sequence import Sequence as Sequence
from runner.schedules.step import Step as Step
from runner.schedules.triangular_lr import triangular_lr as triangular_lr
from runner.schedules.warmup_cosine import WarmupCosine as WarmupCosine
from runner.schedules.wsd import WSD as WSD

__all__: list[str]
