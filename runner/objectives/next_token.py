"""Language modelling: the cross-entropy of the next token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from etils import epy

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


@register_objective("next_token")
class NextToken(Objective):
    """The next token at each position of a block; a model returns logits [length, tokens].

    Metrics: ``loss``, the mean cross-entropy per token in nats; ``perplexity``, its exponential;
    ``bits_per_byte``, the cross-entropy of the text in bits over its length in bytes; ``accuracy``
    of the most probable token.
    """

    highest_is_best = {  # noqa: RUF012
        "loss": False,
        "perplexity": False,
        "bits_per_byte": False,
        "accuracy": True,
    }

    def __init__(self, *, targets: Targets) -> None:
        """Raises ConfigError unless the targets are a block of tokens for each example."""
        if targets.num_classes is None or len(targets.shape) != 1:
            problem = "next_token needs a block of tokens for each example, as dataset=text has"
            raise ConfigError("", problem, "choose objective=classification")
        self.output_shape = (*targets.shape, targets.num_classes)
        token_bytes = targets.token_bytes or (1,) * targets.num_classes
        self.token_bytes = np.asarray(token_bytes, np.float32)

    def losses(self, outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean(-1)

    def ensemble(self, outputs: jax.Array, member: jax.Array, count: ArrayLike) -> jax.Array:
        return mean_probability_logits(outputs, member, count)

    def sums(self, outputs: jax.Array, targets: jax.Array, valid: jax.Array) -> Sums:
        hits = (outputs.argmax(-1) == targets).mean(-1)
        size = self.token_bytes[targets].mean(-1)
        return {
            **Objective.sums(self, outputs, targets, valid),
            "hits": jnp.where(valid, hits, 0.0).sum(),
            "bytes": jnp.where(valid, size, 0.0).sum(),
        }

    def metrics(self, sums: Sums) -> dict[str, jax.Array]:
        found = Objective.metrics(self, sums)
        return {
            **found,
            "perplexity": jnp.exp(found["loss"]),
            "bits_per_byte": sums["loss"] / sums["bytes"] / math.log(2),
            "accuracy": sums["hits"] / sums["examples"],
        }
