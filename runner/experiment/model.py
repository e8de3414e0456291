"""Builds a model and traces it on the shape of the data, before anything is computed."""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax.extend.core import Jaxpr

from runner import registry
from runner.config import Choice
from runner.errors import ConfigError, RunnerError, reason, type_name
from runner.objectives import Objective


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model and the results of tracing it on the shape of the data.

    variables: shapes and types of its parameters and its state, as ``init`` returns them.
    forward: its computation for one example.
    """

    module: nn.Module
    variables: Mapping[str, Any]
    forward: Jaxpr

    @property
    def params(self) -> Any:
        """Shapes and types of its parameters."""
        return self.variables["params"]


def fit_model(choice: Choice, example: jax.ShapeDtypeStruct, objective: Objective) -> FittedModel:
    """The model for inputs of the shape of ``example``, a batch of one.

    Raises:
      ConfigError: the factory fails or returns something other than a flax.linen module; the
        module cannot be hashed, fails, has no parameters, or does not return what the objective
        needs.
    """
    key = f"model {choice.name}"
    module = registry.models.build(
        choice.name, {**dict(choice.settings), "num_outputs": objective.output_shape[-1]}
    )
    if _is_nnx(module):
        problem = f"is {type_name(module)}, a flax.nnx.Module"
        raise ConfigError(key, problem, "wrap it: return a flax.linen.Module")
    if not isinstance(module, nn.Module):
        raise ConfigError(key, f"is {type_name(module)}", "return a flax.linen.Module")
    module = module if takes_train(module) else TrainIgnored(module)
    try:
        hash(module)
    except TypeError as error:
        problem = f"cannot be part of a program ({reason(error)})"
        raise ConfigError(key, problem, "make its attributes tuples, not lists") from error
    forward, outputs, variables = _trace(module, example, key)
    expected = (example.shape[0], *objective.output_shape)
    if not isinstance(outputs, jax.ShapeDtypeStruct) or outputs.shape != expected:
        found = outputs.shape if isinstance(outputs, jax.ShapeDtypeStruct) else type_name(outputs)
        raise ConfigError(key, f"returns {found}", f"return outputs of shape {expected}")
    if "params" not in variables:
        raise ConfigError(key, "has no parameters to train", "add a layer with parameters")
    return FittedModel(module, variables, forward)


class TrainIgnored(nn.Module):
    """Adapts a module whose ``__call__`` has no argument ``train`` to the runner's call.

    It has the variables of the module at the same paths.

    Attributes:
      without_train: the module. Its submodules share this module's names, so that it must not
        have one called ``without_train``.
    """

    without_train: nn.Module

    @property
    def layer_order(self) -> Any:
        """That of the module, or None."""
        return getattr(self.without_train, "layer_order", None)

    def setup(self) -> None:
        nn.share_scope(self, self.without_train)

    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """The module's outputs."""
        return self.without_train(inputs)


def takes_train(module: nn.Module) -> bool:
    """Whether the module's ``__call__`` accepts an argument ``train``."""
    parameters = inspect.signature(type(module).__call__).parameters
    if "train" in parameters:
        return True
    # nn.Sequential hands arbitrary keywords to its first layer.
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return is_open and not isinstance(module, nn.Sequential)


def _is_nnx(module: object) -> bool:
    """Whether it is an nnx module; does not import flax.nnx, which takes half a second."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(module, nnx.Module)


def _trace(
    module: nn.Module, example: jax.ShapeDtypeStruct, key: str
) -> tuple[Jaxpr, Any, dict[str, Any]]:
    trace = jax.make_jaxpr(partial(module.init_with_output, train=False), return_shape=True)
    try:
        jaxpr, (outputs, variables) = trace(jax.random.key(0), example)
    except RunnerError as error:
        raise error.under("model") from error
    except Exception as error:
        problem = f"cannot take inputs of shape {example.shape[1:]} ({reason(error)})"
        raise ConfigError(key, problem, "change its arguments, or the dataset") from error
    return jaxpr.jaxpr, outputs, variables
