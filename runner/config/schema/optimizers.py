"""What an ``optimizer`` section may hold, by its name."""

from dataclasses import dataclass
from typing import Literal

from runner.checks import between, positive, whole
from runner.checks.values import rates
from runner.config.convert import Rates
from runner.errors import ConfigError

# From here on float32 rounds to 1.
ROUNDS_TO_ONE = 1 - 2.0**-25


@dataclass(frozen=True)
class Sgd:
    """The optimizer ``sgd``."""

    momentum: float | None
    nesterov: bool
    weight_decay: Rates | None

    def __post_init__(self) -> None:
        _velocity(self.momentum, self.nesterov)
        if self.weight_decay is not None:
            _decay(self.weight_decay)


@dataclass(frozen=True)
class Lion:
    """The optimizer ``lion``."""

    b1: float
    b2: float
    weight_decay: Rates
    decay_all: bool

    def __post_init__(self) -> None:
        _shares(b1=self.b1, b2=self.b2)
        _decay(self.weight_decay)


@dataclass(frozen=True)
class Adam:
    """The optimizers ``adam``, ``nadam``, ``amsgrad``, ``adamax`` and ``yogi``."""

    b1: float
    b2: float
    eps: float

    def __post_init__(self) -> None:
        _shares(b1=self.b1, b2=self.b2)
        positive("eps", self.eps)


@dataclass(frozen=True)
class AdamW:
    """The optimizers ``adamw`` and ``nadamw``."""

    b1: float
    b2: float
    eps: float
    weight_decay: Rates
    decay_all: bool

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        _decay(self.weight_decay)


@dataclass(frozen=True)
class RAdam:
    """The optimizer ``radam``."""

    b1: float
    b2: float
    eps: float
    threshold: float
    nesterov: bool

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        between("threshold", self.threshold, above=4)  # at 4 the variance is infinite


@dataclass(frozen=True)
class AdaBelief:
    """The optimizer ``adabelief``."""

    b1: float
    b2: float
    eps: float
    eps_root: float
    nesterov: bool

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        between("eps_root", self.eps_root, at_least=0)


@dataclass(frozen=True)
class RmsProp:
    """The optimizer ``rmsprop``."""

    decay: float
    eps: float
    initial_scale: float
    eps_in_sqrt: bool
    centered: bool
    momentum: float | None
    nesterov: bool
    bias_correction: bool

    def __post_init__(self) -> None:
        _shares(decay=self.decay)
        positive("eps", self.eps)
        between("initial_scale", self.initial_scale, at_least=0)
        _velocity(self.momentum, self.nesterov)


@dataclass(frozen=True)
class AdaGrad:
    """The optimizer ``adagrad``."""

    initial_accumulator_value: float
    eps: float

    def __post_init__(self) -> None:
        between("initial_accumulator_value", self.initial_accumulator_value, at_least=0)
        positive("eps", self.eps)


@dataclass(frozen=True)
class AdaDelta:
    """The optimizer ``adadelta``."""

    rho: float
    eps: float
    weight_decay: Rates

    def __post_init__(self) -> None:
        _shares(rho=self.rho)
        positive("eps", self.eps)
        _decay(self.weight_decay)


@dataclass(frozen=True)
class AdaFactor:
    """The optimizer ``adafactor``."""

    min_dim_size_to_factor: int
    decay_rate: float
    multiply_by_parameter_scale: bool
    clipping_threshold: float | None
    momentum: float | None
    weight_decay: Rates
    decay_all: bool
    eps: float
    factored: bool

    def __post_init__(self) -> None:
        whole("min_dim_size_to_factor", self.min_dim_size_to_factor, at_least=1)
        between("decay_rate", self.decay_rate, above=0, at_most=1)
        if self.clipping_threshold is not None:
            positive("clipping_threshold", self.clipping_threshold)
        if self.momentum is not None:
            _shares(momentum=self.momentum)
        _decay(self.weight_decay)
        positive("eps", self.eps)


@dataclass(frozen=True)
class Lamb:
    """The optimizer ``lamb``."""

    b1: float
    b2: float
    eps: float
    eps_root: float
    weight_decay: Rates
    decay_all: bool

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        between("eps_root", self.eps_root, at_least=0)
        _decay(self.weight_decay)


@dataclass(frozen=True)
class Lars:
    """The optimizer ``lars``."""

    momentum: float
    nesterov: bool
    weight_decay: Rates
    decay_all: bool
    trust_coefficient: float
    eps: float
    adapt_all: bool

    def __post_init__(self) -> None:
        _velocity(self.momentum, self.nesterov)
        _decay(self.weight_decay)
        positive("trust_coefficient", self.trust_coefficient)
        between("eps", self.eps, at_least=0)


@dataclass(frozen=True)
class NovoGrad:
    """The optimizer ``novograd``."""

    b1: float
    b2: float
    eps: float
    eps_root: float
    weight_decay: Rates

    def __post_init__(self) -> None:
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)
        between("eps_root", self.eps_root, at_least=0)
        _decay(self.weight_decay)


@dataclass(frozen=True)
class Muon:
    """The optimizer ``muon``."""

    momentum: float
    nesterov: bool
    ns_steps: int
    preconditioning: Literal["frobenius", "spectral", "aol", "schatten"]
    adaptive: bool
    consistent_rms: float | None
    eps: float
    weight_decay: Rates
    decay_all: bool
    b1: float
    b2: float

    def __post_init__(self) -> None:
        _shares(momentum=self.momentum)
        whole("ns_steps", self.ns_steps, at_least=1, at_most=100)  # each is unrolled
        if self.consistent_rms is not None:
            positive("consistent_rms", self.consistent_rms)
        _decay(self.weight_decay)
        Adam(b1=self.b1, b2=self.b2, eps=self.eps)


def _velocity(momentum: float | None, nesterov: bool) -> None:
    """``momentum`` is a share, and ``nesterov`` has one to look ahead along."""
    if momentum is not None:
        _shares(momentum=momentum)
    if nesterov and not momentum:
        problem = "true without a momentum to look ahead along"
        raise ConfigError("nesterov", problem, "set optimizer.momentum, or nesterov=false")


def _shares(**values: float) -> None:
    """Each of the ``values`` is at least 0 and below 1, in float32 as well."""
    for key, value in values.items():
        between(key, value, at_least=0, below=1)
        if value >= ROUNDS_TO_ONE:
            raise ConfigError(key, f"{value!r} is 1 in float32", "write at most 0.9999999")


def _decay(weight_decay: Rates) -> None:
    """A factor of at least 0, or one for each group of parameters."""
    rates("weight_decay", weight_decay, at_least=0)
