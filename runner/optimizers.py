"""Optimizers as functions of their numbers: structure is compiled, every float is an argument.

A factory has the shape of optax's own, ``factory(learning_rate, **arguments)``, and is called
inside the traced step, so ``register_optimizer("lion")(optax.lion)`` is all it takes to add one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from runner.errors import ConfigError
from runner.registry import optimizers, register_optimizer

# What a schedule's momentum replaces: the first of these among an optimizer's numbers.
MOMENTUM_KEYS = ("momentum", "b1")


@dataclass(frozen=True)
class Optimizer:
    """The structure of an optimizer: equal structures share one compiled program.

    Attributes:
      name: of the registered factory.
      structure: its arguments other than floats, as (key, value) pairs.
      momentum_key: the number that a schedule's momentum replaces; None if there is none.
    """

    name: str
    structure: tuple[tuple[str, Any], ...]
    momentum_key: str | None

    def build(self, learning_rate: Any, numbers: Mapping[str, Any]) -> optax.GradientTransformation:
        """The transformation at these numbers, scalars that may be traced.

        Its state holds no hyperparameters: initialise it with any numbers, and build it anew at
        every step with that step's.
        """
        arguments = {"learning_rate": learning_rate, **dict(self.structure), **numbers}
        return optimizers.build(self.name, arguments)


def split(name: str, arguments: Mapping[str, Any]) -> tuple[Optimizer, dict[str, np.ndarray]]:
    """Parts a factory's arguments into structure and numbers (float32 scalars).

    Raises:
      ConfigError: the factory is not known or refuses its arguments, or a number is beyond
        float32.
    """
    numbers = {
        key: _number(key, value)
        for key, value in arguments.items()
        if isinstance(value, (float, np.floating))
    }
    structure = {key: _frozen(key, value) for key, value in arguments.items() if key not in numbers}
    momentum_key = next((key for key in MOMENTUM_KEYS if key in numbers), None)
    optimizer = Optimizer(name, tuple(sorted(structure.items())), momentum_key)
    # Once with plain floats, so that what is wrong is said before anything is traced.
    optimizer.build(0.0, {key: float(value) for key, value in numbers.items()})
    return optimizer, numbers


@register_optimizer("sgd")
def sgd(
    learning_rate: Any, *, momentum: Any, nesterov: bool, weight_decay: Any
) -> optax.GradientTransformation:
    """Stochastic gradient descent as PyTorch's SGD: the decay joins the gradient.

        g = grad + weight_decay * param
        m = momentum * m + g
        param -= learning_rate * (g + momentum * m if nesterov else m)

    ``momentum`` or ``weight_decay`` of None leaves out the term and its state.

    Raises:
      ConfigError: ``nesterov`` without ``momentum``.
    """
    if nesterov and momentum is None:
        raise ConfigError("nesterov", "true without a momentum", "set momentum, or nesterov=false")
    plain = optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    if weight_decay is None:
        return plain
    return optax.chain(optax.add_decayed_weights(weight_decay), plain)


@register_optimizer("adam")
def adam(learning_rate: Any, *, b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, algorithm 1)."""
    return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)


@register_optimizer("adamw")
def adamw(
    learning_rate: Any, *, b1: Any, b2: Any, eps: Any, weight_decay: Any
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    As in PyTorch's AdamW the decay is multiplied by the learning rate.
    """
    return optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)


def _number(key: str, value: float | np.floating[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        number = np.asarray(value, np.float32)
    if not np.isfinite(number):
        raise ConfigError(
            f"optimizer.{key}", f"{value!r} is no finite float32", "write a finite number"
        )
    return number


def _frozen(key: str, value: Any) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    try:
        hash(value)
    except TypeError as error:
        raise ConfigError(
            f"optimizer.{key}",
            f"{value!r} cannot be part of a program",
            "write a number, text or a list",
        ) from error
    return value
