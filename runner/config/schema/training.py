"""What the ``training`` section may hold."""

from dataclasses import dataclass
from typing import Literal

from runner.checks import INT32_MAX, between, whole
from runner.errors import ConfigError
from runner.lengths import Length


@dataclass(frozen=True)
class Training:
    """The ``training`` section; ``steps``, where given, counts instead of ``epochs``."""

    epochs: float | None
    steps: Length | None
    batch_size: int
    accumulate: int
    compute_dtype: Literal["float32", "bfloat16"]
    ema_decay: float | None
    log_every: Length
    eval_every: Length | None
    dispatch: Literal["auto", "scan", "step"]
    chunk: Literal["auto"] | int
    feed: Literal["auto", "device", "host"]

    def __post_init__(self) -> None:
        if self.epochs is not None:
            between("epochs", self.epochs, above=0, at_most=INT32_MAX)
        elif self.steps is None:
            raise ConfigError("epochs", "is null, and so is training.steps", "set one of them")
        if isinstance(self.steps, str) and "%" in self.steps:
            problem = f"{self.steps!r} is a share of the run, whose length it would set"
            raise ConfigError("steps", problem, "write steps (500) or epochs (4ep)")
        whole("batch_size", self.batch_size, at_least=1)
        whole("accumulate", self.accumulate, at_least=1)
        if self.ema_decay is not None:
            between("ema_decay", self.ema_decay, above=0, below=1)
        if self.chunk != "auto":
            whole("chunk", self.chunk, at_least=1)
