"""Models: flax.linen modules, one family a file."""

from runner.models import mlp

__all__ = ["mlp"]
