"""Classification: cross-entropy, accuracy, and the confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from etils import epy

from runner.config.markers import Number, Series
from runner.config.types import Count, Share
from runner.errors import ConfigError
from runner.objectives.base import Objective, Sums, Targets, mean_probability_logits
from runner.registry import register_objective

if TYPE_CHECKING:
    from jax.typing import ArrayLike

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

# The confusion matrix of more classes is neither counted nor drawn.
MOST_CLASSES = 256

ClassWeights = Annotated[tuple[float, ...], Series(Number(gt=0), example="[1.0,2.5]")]


@register_objective("classification")
class Classification(Objective, static=("top_k",)):
    """One class for each example; a model returns logits, one for each class.

    ::

        loss = mean(w[y] * ((1 - s) * CE(y)) + s / C * sum_c w[c] * CE(c)) / mean(w[y])

    with label smoothing ``s``, class weights ``w`` and the cross-entropy ``CE(c) = -log p[c]``, as
    in PyTorch's CrossEntropyLoss. Smoothing and weights are for training only: the metric ``loss``
    is the mean of ``CE(y)``.

    Metrics: ``accuracy``, ``loss``, ``top<k>_accuracy``, ``class_accuracy`` (the share of each
    class that is recognised), and ``confusion`` [class, predicted class], in examples.
    """

    highest_is_best = {"accuracy": True, "loss": False}  # noqa: RUF012

    def __init__(
        self,
        *,
        targets: Targets,
        label_smoothing: Share = 0.0,
        class_weights: Literal["balanced"] | ClassWeights | None = None,
        top_k: Count | None = None,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          label_smoothing: the share of the loss that is spread over all classes (Szegedy et al.
            2016, section 7).
          class_weights: one for each class; ``balanced`` is ``n / (num_classes * count)``, as in
            scikit-learn.
          top_k: also counts an answer as correct if it is among that many highest logits.

        Raises:
          ConfigError: the targets are not one class for each example, there are more or fewer
            weights than classes, ``balanced`` meets a class without training examples, or ``top_k``
            is not below the number of classes.
        """
        if targets.num_classes is None or targets.shape:
            found = "real numbers" if targets.num_classes is None else f"shape {targets.shape}"
            problem = (
                f"classification needs one class for each example, but the targets are {found}"
            )
            remedy = "choose another objective, such as objective=regression"
            raise ConfigError("", problem, remedy)
        self.output_shape = (targets.num_classes,)
        if top_k is not None and top_k >= targets.num_classes:
            problem = f"{top_k} of {targets.num_classes} classes makes every answer correct"
            raise ConfigError("top_k", problem, f"write at most {targets.num_classes - 1}")
        self.top_k = top_k
        # A term that would be 0 is left out of the program.
        self.label_smoothing = np.float32(label_smoothing) if label_smoothing else None
        self.class_weights = _class_weights(class_weights, targets)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

    def training_losses(
        self, outputs: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        losses, weights = self.losses(outputs, targets), None
        if self.class_weights is not None:
            weights = self.class_weights[targets]
            losses = losses * weights
        if self.label_smoothing is not None:
            of_all = -jax.nn.log_softmax(outputs)
            if self.class_weights is not None:
                of_all = of_all * self.class_weights
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * of_all.mean(-1)
        return losses, weights

    def ensemble(self, outputs: jax.Array, member: jax.Array, count: ArrayLike) -> jax.Array:
        return mean_probability_logits(outputs, member, count)

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        predicted = outputs.argmax(-1)
        sums = Objective.sums(self, outputs, targets, valid)
        sums["correct"] = ((predicted == targets) & valid).sum()
        if self.top_k is not None:
            own = jnp.take_along_axis(outputs, targets[:, None], axis=-1)
            sums["in_top_k"] = (((outputs > own).sum(-1) < self.top_k) & valid).sum()
        (num_classes,) = self.output_shape
        if num_classes <= MOST_CLASSES:
            counts = jnp.zeros((num_classes, num_classes), jnp.int32)
            sums["confusion"] = counts.at[targets, predicted].add(valid.astype(jnp.int32))
        return sums

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        found = {
            "accuracy": sums["correct"] / sums["examples"],
            **Objective.metrics(self, sums),
        }
        if self.top_k is not None:
            found[f"top{self.top_k}_accuracy"] = sums["in_top_k"] / sums["examples"]
        if "confusion" in sums:
            counts = sums["confusion"]
            found["confusion"] = counts
            # NaN for a class without examples.
            found["class_accuracy"] = counts.diagonal() / counts.sum(1)
        return found


def _class_weights(chosen: str | tuple[float, ...] | None, targets: Targets) -> np.ndarray | None:
    if chosen is None:
        return None
    if not isinstance(chosen, str):
        if len(chosen) != targets.num_classes:
            problem = f"{len(chosen)} weights for {targets.num_classes} classes"
            raise ConfigError("class_weights", problem, "write one for each class, or balanced")
        return np.asarray(chosen, np.float32)
    counts = np.asarray(targets.counts, np.float64)
    if not counts.all():
        problem = f"balanced, but class {int(counts.argmin())} has no training example"
        raise ConfigError("class_weights", problem, "write one weight for each class")
    return np.asarray(counts.sum() / (len(counts) * counts), np.float32)
