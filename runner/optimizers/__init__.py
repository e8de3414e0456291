"""Optimizers as functions of their hyperparameters: every float is an argument of the program.

A factory is called like optax's own, ``factory(learning_rate, **arguments)``, inside the traced
step, so ``register_optimizer("adamaxw")(optax.adamaxw)`` adds one.
"""

from runner.optimizers.base import Optimizer, split
from runner.optimizers.composition import eval_params, transformation
from runner.optimizers.groups import Groups, assign
from runner.optimizers.layer_decay import layer_depths
from runner.optimizers.wrappers import Wrappers
from runner.registry import import_modules

__all__ = [
    "Groups",
    "Optimizer",
    "Wrappers",
    "assign",
    "eval_params",
    "layer_depths",
    "split",
    "transformation",
]

import_modules(__name__, __path__)
