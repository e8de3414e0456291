"""The base class of objectives: a loss, metrics, and the shape of the outputs they need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

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
      counts: of each class in the training split, if an example has one class.
      token_bytes: the bytes of each token in UTF-8, if the targets are named tokens.
      mean, std: of each target of the training split, for real numbers; else 0 and 1.
    """

    shape: tuple[int, ...] = ()
    num_classes: int | None = None
    counts: tuple[int, ...] | None = None
    token_bytes: tuple[int, ...] | None = None
    mean: tuple[float, ...] | float = 0.0
    std: tuple[float, ...] | float = 1.0

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """The targets that were stored as JSON, which has no tuples."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**fields)


class Objective(Pytree, ABC, static=("output_shape",)):
    """The loss and the metrics of a kind of task.

    An objective is a pytree: its numbers are arguments of the compiled program. Its factory gets
    the ``targets`` of the data set, and raises ConfigError if they do not suit it.

    To write one, derive from this class or from an objective, and override what differs. The
    arguments of ``__init__`` are validated against its annotations (``runner.config.types``).

    Attributes:
      output_shape: the shape of what a model must return for one example; set by ``__init__``.
      highest_is_best: name of each metric that can rank evaluations → whether its highest value is
        the best; the first one ranks them by default.
    """

    output_shape: tuple[int, ...]
    highest_is_best: ClassVar[Mapping[str, bool]] = {"loss": False}

    def __init_subclass__(cls, *, static: Iterable[str] = ()) -> None:
        super().__init_subclass__(static=static)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)

    @abstractmethod
    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        """The loss of each example [batch]; its mean over a split is the metric ``loss``.

        Args:
          outputs: float32 [batch, *output_shape].
          targets: [batch, *shape].
        """

    def training_losses(
        self, outputs: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """Losses and weights [batch]: training minimises ``sum(losses) / sum(weights)``.

        If the weights are None it minimises the mean, by default that of ``losses``.
        """
        return self.losses(outputs, targets), None

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        """Sums over the examples where ``valid`` [batch]; an evaluation adds them over batches."""
        losses = jnp.where(valid, self.losses(outputs, targets), 0.0)
        return {"loss": losses.sum(), "examples": valid.sum()}

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        """The metrics of a split by name, from its ``sums``; ``loss`` is one of them.

        Those that rank evaluations are scalars. Of the test split, an array [classes] is logged
        class by class, and a matrix [classes, classes] is drawn.
        """
        return {"loss": sums["loss"] / sums["examples"]}

    def ensemble(self, outputs: jax.Array, member: jax.Array, count: ArrayLike) -> jax.Array:
        """The outputs of an ensemble after one more member, float32 [batch, *output_shape].

        By default, the outputs of an ensemble are the mean of its members' outputs.

        Args:
          outputs: of the ensemble of the first ``count`` members, [batch, *output_shape].
          member: the outputs of the new member, likewise.
          count: at least 1.
        """
        return outputs + (member - outputs) / (count + 1)

    def predictions(self, outputs: ArrayLike) -> Any:
        """What a user of the model gets for its outputs: logits, or values in the data's units."""
        return outputs


def mean_probability_logits(outputs: jax.Array, member: jax.Array, count: ArrayLike) -> jax.Array:
    """``Objective.ensemble`` for logits: the logarithms of the mean of the members' softmax.

    This is the snapshot ensemble of Huang et al. (2017), section 3. It is computed in logarithms,
    so that no probability underflows.
    """
    before = jax.nn.log_softmax(outputs) + jnp.log(count)
    return jnp.logaddexp(before, jax.nn.log_softmax(member)) - jnp.log(count + 1)
