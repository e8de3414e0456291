"""An optimizer parted in its structure, which is compiled, and its numbers, which are arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from runner.errors import ConfigError, kind
from runner.registry import GROUP_KEYS, MOMENTUM_KEYS, optimizers


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

        Its state holds no hyperparameters: build it anew at every step with that step's. Only
        what a number starts (``initial_accumulator_value``) is as it was at ``init``.
        """
        arguments = {"learning_rate": learning_rate, **dict(self.structure), **numbers}
        return optimizers.build(self.name, arguments)


def split(name: str, arguments: Mapping[str, Any]) -> tuple[Optimizer, dict[str, np.ndarray]]:
    """Parts a factory's arguments into structure and numbers (float32 scalars).

    A number of ``GROUP_KEYS`` may be a tuple, one for each group of parameters, and becomes a
    float32 array [groups].

    Raises:
      ConfigError: the factory is not known or refuses its arguments, or returns something else
        than a transformation, or a number is beyond float32.
    """
    numbers = {
        key: _number(key, value)
        for key, value in arguments.items()
        if isinstance(value, (float, np.floating))
        or (key in GROUP_KEYS and isinstance(value, tuple))
    }
    structure = {key: _frozen(key, value) for key, value in arguments.items() if key not in numbers}
    momentum_key = next((key for key in MOMENTUM_KEYS if key in numbers), None)
    optimizer = Optimizer(name, tuple(sorted(structure.items())), momentum_key)
    # Once with plain floats, so that what is wrong is said before anything is traced.
    tx = optimizer.build(0.0, {key: value.ravel()[0].item() for key, value in numbers.items()})
    if not isinstance(tx, optax.GradientTransformation):
        remedy = "return an optax.GradientTransformation"
        raise ConfigError(f"optimizer {name}", f"is {kind(tx)}", remedy)
    return optimizer, numbers


def of_group(numbers: Mapping[str, Any], group: int) -> dict[str, Any]:
    """The numbers of the group at that place, all of them scalars."""
    return {key: value[group] if np.ndim(value) else value for key, value in numbers.items()}


def _number(key: str, value: float | np.floating[Any] | tuple[float, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):
        number = np.asarray(value, np.float32)
    if not np.isfinite(number).all():
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
