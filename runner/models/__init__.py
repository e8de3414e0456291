"""Models: flax.linen modules, one family a file."""

from runner.models import cnn, mlp

__all__ = ["cnn", "mlp"]
