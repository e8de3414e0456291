"""What a range test answers."""

from dataclasses import dataclass

# The shortest and the longest half of a cycle, in epochs (Smith 2017, section 3.2).
SHORTEST, LONGEST = 2.0, 10.0


@dataclass(frozen=True)
class Spread:
    """The lowest and the highest value over the seeds of a range test."""

    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """The bounds of the learning rate and the step size that a range test supports.

    Attributes:
      base_lr: the lower bound, where the loss begins to fall.
      max_lr: the upper bound, safely below the rate where the loss begins to rise.
      step_size_epochs: length of half a cycle in epochs, 2 to 10.
      base_lr_spread: ``base_lr`` over the seeds.
      max_lr_spread: ``max_lr`` over the seeds.
      reasons: sentences that say why, for a person to read.
    """

    base_lr: float
    max_lr: float
    step_size_epochs: float
    base_lr_spread: Spread
    max_lr_spread: Spread
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class NoAnswer:
    """Why a range test supports no answer, and what to do: ``reason; remedy``."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"
