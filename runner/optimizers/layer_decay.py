"""Layer-wise rate decay: how many layers of a model lie above each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etils import epy

from runner.errors import ConfigError
from runner.optimizers.groups import path_name

with epy.lazy_imports():
    import jax

LayerOrder = Sequence[str | Sequence[str]]


def layer_depths(layer_order: LayerOrder | None, params: Any) -> tuple[tuple[str, int], ...]:
    """(path, number of layers above it) of each parameter; ``Groups.depths``.

    The rate of a parameter is multiplied by ``layer_decay ** depth``, so that the last layer has
    the schedule's rate and the first the lowest (Clark et al. 2020; Bao et al. 2022).

    Args:
      layer_order: the model's attribute of that name, or None if it has none: the layers from
        input to output, each a prefix of parameter paths such as ``Dense_0``, or a tuple of
        prefixes (``("embed", "position")``) of one layer. The first match counts.
      params: arrays or their shapes.

    Raises:
      ConfigError: there is no order, a prefix matches no parameter, or a parameter has no layer.
        The key is ``layer_decay``.
    """
    if layer_order is None:
        problem = "the model does not declare the order of its layers"
        remedy = (
            "give its module a property layer_order, the prefixes of parameter paths from input "
            "to output: ('Dense_0', 'Dense_1')"
        )
        raise ConfigError("layer_decay", problem, remedy)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    layers = [(layer,) if isinstance(layer, str) else tuple(layer) for layer in layer_order]
    for prefix in (prefix for layer in layers for prefix in layer):
        if not any(_is_below(path, prefix) for path in paths):
            problem = f"the model's layer_order has {prefix!r}, which matches no parameter"
            raise ConfigError("layer_decay", problem, f"the first path is {paths[0]}")
    return tuple((path, len(layers) - 1 - _layer(path, layers)) for path in paths)


def _layer(path: str, layers: list[tuple[str, ...]]) -> int:
    for index, layer in enumerate(layers):
        if any(_is_below(path, prefix) for prefix in layer):
            return index
    problem = f"the model's layer_order leaves out the parameter {path}"
    raise ConfigError("layer_decay", problem, "add its prefix at the layer's position")


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")
