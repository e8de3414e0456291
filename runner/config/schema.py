"""What each section of the configuration may hold: names, types and checks; YAML holds the values.

A field's name is its key and the keyword argument of the factory; ``convert`` reads the types.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from runner.checks import (
    INT32_MAX,
    between,
    finite,
    positive,
    whole,
    widths,
)
from runner.checks.schedules import Mode, ScaleMode, check_constant, check_cyclic
from runner.config.plugins import check_scale_fn_name
from runner.errors import ConfigError
from runner.lengths import Length


@dataclass(frozen=True)
class Training:
    """The ``training`` section; ``steps``, where given, counts instead of ``epochs``."""

    epochs: float | None
    steps: Length | None
    batch_size: int
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
        if self.chunk != "auto":
            whole("chunk", self.chunk, at_least=1)


@dataclass(frozen=True)
class Cyclic:
    """The schedule ``cyclic``."""

    base_lr: float
    max_lr: float
    step_size_up: Length
    step_size_down: Length | None
    mode: Mode
    gamma: float
    scale_fn: str | None
    scale_mode: ScaleMode
    last_epoch: int
    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def __post_init__(self) -> None:
        arguments = dict(vars(self))
        scale_fn = arguments.pop("scale_fn")
        check_cyclic(**arguments)
        if scale_fn is None:
            return
        # Imported here: it folds constants with numpy, which would cost every start 60 ms.
        from runner.expression import parse, parse_name

        name = parse_name(scale_fn)
        if name is None:
            parse(scale_fn)
        else:
            check_scale_fn_name(name)


@dataclass(frozen=True)
class Constant:
    """The schedule ``constant``."""

    base_lr: float

    def __post_init__(self) -> None:
        check_constant(base_lr=self.base_lr)


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


@dataclass(frozen=True)
class Mlp:
    """The model ``mlp``."""

    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        widths("hidden", self.hidden)


@dataclass(frozen=True)
class Cnn:
    """The model ``cnn``."""

    features: tuple[int, ...]
    dense: int

    def __post_init__(self) -> None:
        widths("features", self.features)
        whole("dense", self.dense, at_least=1)


@dataclass(frozen=True)
class Idx:
    """The data source ``idx``."""

    root: str | None
    mean: float
    std: float

    def __post_init__(self) -> None:
        finite("mean", self.mean)
        positive("std", self.std)
        if not self.root:
            raise ConfigError(
                "root",
                "no folder is given",
                "give the folder that holds train-images-idx3-ubyte, train-labels-idx1-ubyte, "
                "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or .gz",
            )


@dataclass(frozen=True)
class Nothing:
    """A choice without settings of its own."""


# Registered name → schema of its arguments. Names that a plugin brings have no schema: their
# arguments are checked against the factory's signature.
CHOICES: Mapping[str, Mapping[str, type[Any]]] = MappingProxyType(
    {
        "scheduler": {"cyclic": Cyclic, "constant": Constant},
        "optimizer": {"sgd": Sgd, "adam": Adam, "adamw": AdamW},
        "model": {"linear": Nothing, "mlp": Mlp, "cnn": Cnn},
        "dataset": {"digits": Nothing, "idx": Idx},
        "task": {"train": Nothing, "check": Nothing},
    }
)
