"""Optimizers as functions of their numbers: structure is compiled, every float is an argument.

A factory has the shape of optax's own, ``factory(learning_rate, **arguments)``, and is called
inside the traced step, so ``register_optimizer("adan")(optax.adan)`` is all it takes to add one.
"""

from runner.optimizers import (  # noqa: F401 - they register themselves
    adam,
    adaptive,
    descent,
    layerwise,
)
from runner.optimizers.base import Optimizer, split
from runner.optimizers.groups import Groups, assign
from runner.optimizers.wrappers import Wrappers

__all__ = ["Groups", "Optimizer", "Wrappers", "assign", "split"]
