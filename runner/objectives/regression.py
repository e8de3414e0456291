"""Regression: squared or Huber loss; errors in the units of the data."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy

from runner.config.types import Positive
from runner.errors import ConfigError
from runner.objectives.base import Objective, Sums, Targets
from runner.registry import register_objective

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax


@register_objective("regression")
class Regression(Objective, static=("loss", "squeezed")):
    """One or several real numbers for each example; a model returns as many.

    Targets are standardised by their mean and deviation in the training split, so that rates do not
    depend on their unit: a model's outputs are ``(target - mean) / std``, and predictions are in
    the data's units again.

    Metrics, over all targets: ``rmse`` and ``mae`` in the data's units, ``r2`` (the mean over the
    targets of ``1 - SSE / SST``), and ``loss``, of the standardised targets.
    """

    highest_is_best = {"rmse": False, "mae": False, "r2": True, "loss": False}  # noqa: RUF012

    def __init__(
        self,
        *,
        targets: Targets,
        loss: Literal["squared", "huber"] = "squared",
        delta: Positive = 1.0,
        standardize: bool = True,
    ) -> None:
        """Checks the arguments and keeps their numbers as numpy arrays.

        Args:
          loss: the squared error, or Huber's (1964): ``e² / 2`` up to ``delta``, then
            ``delta * (|e| - delta / 2)``.
          delta: of Huber's loss, in standard deviations of the targets if they are standardised.
          standardize: whether targets are standardised.

        Raises:
          ConfigError: the targets are not real numbers, one or a list for each example.
        """
        if targets.num_classes is not None or len(targets.shape) > 1:
            found = f"shape {targets.shape}" if targets.num_classes is None else "classes"
            problem = f"regression needs real numbers as targets, but they are {found}"
            raise ConfigError("", problem, "choose objective=classification")
        self.output_shape = targets.shape or (1,)
        self.squeezed, self.loss = not targets.shape, loss
        mean, std = (targets.mean, targets.std) if standardize else (0.0, 1.0)
        self.mean = np.broadcast_to(np.asarray(mean, np.float32), self.output_shape)
        self.std = np.broadcast_to(np.asarray(std, np.float32), self.output_shape)
        self.delta = np.float32(delta)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        errors = outputs - (self._columns(targets) - self.mean) / self.std
        if self.loss == "huber":
            return optax.huber_loss(errors, delta=self.delta).mean(-1)
        return jnp.square(errors).mean(-1)

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        mask = valid[:, None]
        # Deviations from the training mean, not the values: their squares would cancel.
        deviations = jnp.where(mask, self._columns(targets) - self.mean, 0.0)
        errors = jnp.where(mask, outputs * self.std - (self._columns(targets) - self.mean), 0.0)
        return {
            **Objective.sums(self, outputs, targets, valid),
            "absolute": jnp.abs(errors).sum(0),
            "squared": jnp.square(errors).sum(0),
            "deviation": deviations.sum(0),
            "squared_deviation": jnp.square(deviations).sum(0),
        }

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        n = sums["examples"]
        total = sums["squared_deviation"] - jnp.square(sums["deviation"]) / n
        return {
            "rmse": jnp.sqrt((sums["squared"] / n).mean()),
            "mae": (sums["absolute"] / n).mean(),
            "r2": (1 - sums["squared"] / total).mean(),
            **Objective.metrics(self, sums),
        }

    def predictions(self, outputs: Any) -> Any:
        values = outputs * self.std + self.mean
        return values[..., 0] if self.squeezed else values

    def _columns(self, targets: jax.Array) -> jax.Array:
        return targets[:, None] if self.squeezed else targets
