"""The base class of objectives: a loss, metrics, and the shape of the outputs they need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from etils import epy

from runner.config.signature import checked
from runner.pytree import Pytree

if TYPE_CHECKING:
    from jax.typing import ArrayLike

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

# Arrays by name, which are added up over the batches of a split.
Sums = dict[str, Any]


@dataclass(frozen=True)
class Targets:
    """The targets of a data set, as far as an objective depends on them.

    Attributes:
      shape: of the targets of one example; () for one number.
      num_classes: the targets are integers below it; None if they are real numbers.
      mean, std: of each target of the training part, for real numbers; else 0 and 1.
    """

    shape: tuple[int, ...] = ()
    num_classes: int | None = None
    mean: tuple[float, ...] | float = 0.0
    std: tuple[float, ...] | float = 1.0


class Objective(Pytree, ABC):
    """The loss and the metrics of a kind of task.

    An objective is a pytree: its numbers are arguments of the compiled program. Its factory gets
    the ``targets`` of the data set, and raises ConfigError if they do not suit it.

    To write one, derive from this class or from an objective, and override what differs. The
    arguments of ``__init__`` are validated against its annotations (``runner.config.types``).

    Attributes:
      highest_is_best: name of each metric that can rank evaluations → whether its highest value is
        the best; the first one ranks them by default.
    """

    highest_is_best: ClassVar[Mapping[str, bool]] = {"loss": False}

    def __init_subclass__(cls, *, static: Iterable[str] = ()) -> None:
        super().__init_subclass__(static=static)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what a model must return for one example."""

    @abstractmethod
    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """The loss of each example [batch]; its mean over a batch is what training minimises.

        Args:
          outputs: float32 [batch, *output_shape].
          targets: [batch, *shape].
        """

    def weights(self, targets: jax.Array) -> jax.Array | None:
        """The weight of each example [batch] in the mean of the losses; None if all are equal."""
        return None

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        """What an evaluation adds up over batches, of the examples where ``valid`` [batch]."""
        losses = jnp.where(valid, self.losses(outputs, targets), 0.0)
        return {"loss": losses.sum(), "examples": valid.sum()}

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        """The metrics of a split, scalars by name, from its ``sums``; ``loss`` is one of them."""
        return {"loss": sums["loss"] / sums["examples"]}

    def predictions(self, outputs: ArrayLike) -> Any:
        """What a user of the model gets for its outputs: logits, or values in the data's units."""
        return outputs
