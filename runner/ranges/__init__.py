"""Learning rates from the losses of a range test (Smith 2017), in numpy alone."""

from runner.ranges.answer import LONGEST, SHORTEST, Answer, NoAnswer, Spread
from runner.ranges.choice import choose
from runner.ranges.curve import Curve, Smoother, make_curve, test_rates
from runner.ranges.rules import RULES, RuleSpread, table
from runner.ranges.verification import MULTIPLES, revise, wanted_multiples

__all__ = [
    "LONGEST",
    "MULTIPLES",
    "RULES",
    "SHORTEST",
    "Answer",
    "Curve",
    "NoAnswer",
    "RuleSpread",
    "Smoother",
    "Spread",
    "choose",
    "make_curve",
    "revise",
    "table",
    "test_rates",
    "wanted_multiples",
]
