"""Weight-decay masks, which exclude biases and the scales of normalisation layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etils import epy

with epy.lazy_imports():
    import jax


def mask(decay_all: bool) -> Callable[[Any], Any] | None:
    """optax's mask: None for all parameters, else selects those of two or more dimensions."""
    return None if decay_all else _of_two_or_more_dimensions


def _of_two_or_more_dimensions(params: Any) -> Any:
    return jax.tree.map(lambda param: param.ndim >= 2, params)
