"""An optimizer with its parameter groups and wrappers: the transformation of a whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epy

from runner.errors import ConfigError
from runner.optimizers.base import Optimizer, of_group
from runner.optimizers.groups import Groups
from runner.optimizers.wrappers import Wrappers

with epy.lazy_imports():
    import optax


def transformation(
    optimizer: Optimizer,
    hyperparams: Mapping[str, Any],
    *,
    groups: Groups,
    wrappers: Wrappers,
    rates: Sequence[Any],
) -> optax.GradientTransformation:
    """The transformation of the trained parameters at one step.

    Args:
      hyperparams: of the optimizer, scalars or arrays [groups].
      rates: a scalar for each group; with ``wrappers.layer_decay``, the rate of its last layer.
    """
    decay = wrappers.layer_decay
    if decay is not None and not groups.depths:
        problem = "the groups have no layer depths"
        raise ConfigError("layer_decay", problem, "assign them with depths=layer_depths(...)")

    def build(group: int, depth: int) -> optax.GradientTransformation:
        rate = rates[group] if decay is None else rates[group] * decay**depth
        return optimizer.build(rate, of_group(hyperparams, group))

    return wrappers.around(groups.transformation(build))


def eval_params(optimizer: Optimizer, groups: Groups, opt_state: Any, trained: Any) -> Any:
    """The parameters to evaluate instead of ``trained``, from the state of ``transformation``."""
    return groups.eval_params(optimizer.eval_params, opt_state[-1], trained)
