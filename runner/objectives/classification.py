"""Classification: cross-entropy and accuracy."""

from __future__ import annotations

from etils import epy

from runner.errors import ConfigError
from runner.objectives.base import Objective, Sums, Targets
from runner.registry import register_objective

with epy.lazy_imports():
    import jax
    import optax


@register_objective("classification")
class Classification(Objective, static=("num_classes",)):
    """One class for each example: a model returns logits, one for each class.

    Metrics: ``accuracy`` and ``loss``, the mean cross-entropy.
    """

    highest_is_best = {"accuracy": True, "loss": False}  # noqa: RUF012

    def __init__(self, *, targets: Targets) -> None:
        """Raises ConfigError unless the targets are one class for each example."""
        if targets.num_classes is None or targets.shape:
            found = "numbers" if targets.num_classes is None else f"shape {targets.shape}"
            problem = f"classification needs one class for each example, the targets are {found}"
            raise ConfigError("", problem, "choose another objective, such as regression")
        self.num_classes = targets.num_classes

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.num_classes,)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        correct = (outputs.argmax(-1) == targets) & valid
        return {**Objective.sums(self, outputs, targets, valid), "correct": correct.sum()}

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        accuracy = sums["correct"] / sums["examples"]
        return {"accuracy": accuracy, **Objective.metrics(self, sums)}
