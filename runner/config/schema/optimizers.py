"""What an ``optimizer`` section may hold, by its name."""

from dataclasses import dataclass

from runner.checks import between, positive
from runner.errors import ConfigError


@dataclass(frozen=True)
class Sgd:
    """The optimizer ``sgd``."""

    momentum: float | None
    nesterov: bool
    weight_decay: float | None

    def __post_init__(self) -> None:
        if self.momentum is not None:
            between("momentum", self.momentum, at_least=0, below=1)
        if self.nesterov and not self.momentum:
            problem = "true without a momentum to look ahead along"
            raise ConfigError("nesterov", problem, "set optimizer.momentum, or nesterov=false")
        if self.weight_decay is not None:
            between("weight_decay", self.weight_decay, at_least=0)


@dataclass(frozen=True)
class Adam:
    """The optimizer ``adam``."""

    b1: float
    b2: float
    eps: float

    def __post_init__(self) -> None:
        between("b1", self.b1, at_least=0, below=1)
        between("b2", self.b2, at_least=0, below=1)
        positive("eps", self.eps)


@dataclass(frozen=True)
class AdamW:
    """The optimizer ``adamw``."""

    b1: float
    b2: float
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        between("weight_decay", self.weight_decay, at_least=0)
