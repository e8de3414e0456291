"""What a run has measured so far, kept with its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from runner.errors import StorageError, reason


@dataclass(frozen=True)
class Figures:
    """The figures of a run that a checkpoint keeps, for the run that resumes from it.

    Attributes:
      metrics, evaluated_step: the metrics of the last evaluation, by tag, and its step.
      best: ``metric``, ``value`` and ``step`` of the best evaluation.
      seconds: the wall time of the run so far, all attempts together.
      training_seconds: the part of it spent on steps that were not repeated after a restart.
      logging_lost_at_step: the first step that could not be logged, or None.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    evaluated_step: int | None = None
    best: Mapping[str, str | float | int] | None = None
    seconds: float = 0.0
    training_seconds: float = 0.0
    logging_lost_at_step: int | None = None

    @classmethod
    def saved(cls, record: Mapping[str, Any], *, source: str) -> Self:
        """The figures in a checkpoint's record; ``source`` names it in errors.

        Raises:
          StorageError: the record has no figures, or they are malformed.
        """
        try:
            figures = cls(**record["figures"])
            best = figures.best or {"value": 0, "step": 0}
            numbers = [figures.seconds, figures.training_seconds, *figures.metrics.values()]
            _ = [float(number) for number in [*numbers, best["value"], best["step"]]]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            problem = f"has no valid metrics of its run ({reason(error)})"
            remedy = "remove it to use the previous checkpoint"
            raise StorageError(source, problem, remedy) from error
        return figures
