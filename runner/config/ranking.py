"""How evaluations are ranked: by a metric of the objective."""

from __future__ import annotations

from dataclasses import dataclass

from runner.errors import ConfigError, nearest, shown
from runner.registry import GROUPS

# The metric is the objective's first one.
_AUTO = "auto"


@dataclass(frozen=True)
class Ranking:
    """How evaluations are ranked.

    Attributes:
      metric: TensorBoard tag.
      highest: whether the highest value is the best.
    """

    metric: str
    highest: bool

    @property
    def sign(self) -> int:
        """A higher ``sign * value`` is better."""
        return 1 if self.highest else -1


def find_ranking(objective: str, metric: str) -> Ranking:
    """The ranking of evaluations by ``metric``: a tag, or ``auto`` for that of the objective.

    Raises:
      ConfigError: there is no such objective, or it has no such metric.
    """
    declared = getattr(GROUPS["objective"].get(objective), "highest_is_best", {"loss": False})
    tags = {f"eval/{name}": highest for name, highest in declared.items()}
    tag = next(iter(tags)) if metric == _AUTO else metric
    if tag not in tags:
        problem = f"{shown(metric)} is not a metric of the objective {objective}"
        raise ConfigError("metric", problem, nearest(metric, [_AUTO, *tags]))
    return Ranking(tag, tags[tag])
