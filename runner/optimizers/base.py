"""An optimizer's static part, which the program is compiled for, and its hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etils import epy

from runner.config.choice import momentum_names, per_group_names
from runner.config.signature import settings_of
from runner.errors import ConfigError, shown, type_name
from runner.registry import eval_params_of, optimizers

with epy.lazy_imports():
    import jax
    import numpy as np
    import optax


@dataclass(frozen=True)
class Optimizer:
    """The static part of an optimizer: equal ones share one compiled program.

    Attributes:
      name: of the registered factory.
      static: its arguments other than hyperparameters, as (name, value) pairs.
      momentum_name: the hyperparameter that a schedule's momentum replaces; None if there is none.
    """

    name: str
    static: tuple[tuple[str, Any], ...]
    momentum_name: str | None

    def build(
        self, learning_rate: Any, hyperparams: Mapping[str, Any]
    ) -> optax.GradientTransformation:
        """The transformation with these hyperparameters, scalars that may be traced.

        The optimizer state does not contain them: build the transformation at every step with the
        values of that step. Only state that a hyperparameter initialises
        (``initial_accumulator_value``, the ``b1`` of schedule-free optimizers) keeps its value.
        """
        arguments = {"learning_rate": learning_rate, **dict(self.static), **hyperparams}
        return optimizers.build(self.name, arguments)

    def eval_params(self, opt_state: Any, params: Any) -> Any:
        """The parameters to evaluate: ``params``, or those that the factory declares instead.

        Args:
          opt_state: the state of the transformation that ``build`` returns.
        """
        declared = eval_params_of(optimizers.get(self.name))
        # Compiled by itself: fused with the evaluation, it could differ in its last bits.
        return params if declared is None else jax.jit(declared)(opt_state, params)


def split(name: str, arguments: Mapping[str, Any]) -> tuple[Optimizer, dict[str, np.ndarray]]:
    """Splits a factory's arguments into the static part and the hyperparameters.

    Floats are hyperparameters, float32 scalars; an argument with a value per parameter group
    (``weight_decay``) may be a tuple and becomes a float32 array [groups].

    Raises:
      ConfigError: the factory is unknown or refuses its arguments, or does not return a
        transformation, or a float is beyond float32.
    """
    factory = optimizers.get(name)
    settings = settings_of(factory, arguments, key="optimizer", group="optimizer")
    arguments = {key: getattr(settings, key) for key in arguments}
    by_group = per_group_names(factory)
    hyperparams = {
        key: _as_float32(key, value)
        for key, value in arguments.items()
        if isinstance(value, (float, np.floating)) or (key in by_group and isinstance(value, tuple))
    }
    static = {key: _hashable(key, v) for key, v in arguments.items() if key not in hyperparams}
    momentum_name = next((key for key in momentum_names(factory) if key in hyperparams), None)
    optimizer = Optimizer(name, tuple(sorted(static.items())), momentum_name)
    # Built once with plain floats, so that errors are raised before anything is traced.
    tx = optimizer.build(0.0, {key: value.ravel()[0].item() for key, value in hyperparams.items()})
    if not isinstance(tx, optax.GradientTransformation):
        remedy = "return an optax.GradientTransformation"
        raise ConfigError(f"optimizer {name}", f"is {type_name(tx)}", remedy)
    return optimizer, hyperparams


def of_group(hyperparams: Mapping[str, Any], group: int) -> dict[str, Any]:
    """The hyperparameters of the group with that index, as scalars."""
    return {key: value[group] if np.ndim(value) else value for key, value in hyperparams.items()}


def _as_float32(key: str, value: float | np.floating[Any] | tuple[float, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.asarray(value, np.float32)
    if not np.isfinite(array).all():
        problem = f"{shown(value)} is not a finite float32 number"
        raise ConfigError(f"optimizer.{key}", problem, "write a finite number")
    return array


def _hashable(key: str, value: Any) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    try:
        hash(value)
    except TypeError as error:
        problem = f"{shown(value)} cannot be part of a compiled program"
        raise ConfigError(f"optimizer.{key}", problem, "write a number, text or list") from error
    return value
