"""What a ``scheduler`` section may hold, by its name."""

from collections.abc import Mapping
from dataclasses import dataclass

from runner.checks.cycles import (
    Anneal,
    Mode,
    ScaleMode,
    check_cyclic,
    check_one_cycle,
    check_triangular_lr,
)
from runner.checks.schedules import (
    check_constant,
    check_cosine,
    check_cosine_restarts,
    check_exponential,
    check_linear,
    check_multistep,
    check_polynomial,
    check_sequence,
    check_step,
    check_warmup_cosine,
)
from runner.config.choice import Choice
from runner.config.convert import Rates
from runner.config.plugins import check_scale_fn_name
from runner.lengths import Length


@dataclass(frozen=True)
class Cyclic:
    """The schedule ``cyclic``."""

    base_lr: Rates
    max_lr: Rates
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
class TriangularLR:
    """The schedule ``triangular_lr``."""

    base_lr: Rates
    max_lr: Rates
    step_size: Length
    last_epoch: int
    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def __post_init__(self) -> None:
        check_triangular_lr(**vars(self))


@dataclass(frozen=True)
class OneCycle:
    """The schedule ``one_cycle``."""

    max_lr: Rates
    total_steps: Length
    pct_start: float
    anneal_strategy: Anneal
    three_phase: bool
    div_factor: float
    final_div_factor: float
    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def __post_init__(self) -> None:
        check_one_cycle(**vars(self))


@dataclass(frozen=True)
class Constant:
    """The schedule ``constant``."""

    base_lr: Rates

    def __post_init__(self) -> None:
        check_constant(**vars(self))


@dataclass(frozen=True)
class Cosine:
    """The schedule ``cosine``."""

    base_lr: Rates
    T_max: Length
    eta_min: Rates
    periodic: bool

    def __post_init__(self) -> None:
        check_cosine(**vars(self))


@dataclass(frozen=True)
class CosineRestarts:
    """The schedule ``cosine_restarts``."""

    base_lr: Rates
    T_0: Length
    T_mult: int
    eta_min: Rates

    def __post_init__(self) -> None:
        check_cosine_restarts(**vars(self))


@dataclass(frozen=True)
class WarmupCosine:
    """The schedule ``warmup_cosine``."""

    base_lr: Rates
    max_lr: Rates
    warmup_steps: Length
    total_steps: Length
    eta_min: Rates

    def __post_init__(self) -> None:
        check_warmup_cosine(**vars(self))


@dataclass(frozen=True)
class Linear:
    """The schedule ``linear``."""

    base_lr: Rates
    start_factor: float
    end_factor: float
    total_iters: Length

    def __post_init__(self) -> None:
        check_linear(**vars(self))


@dataclass(frozen=True)
class Polynomial:
    """The schedule ``polynomial``."""

    base_lr: Rates
    total_iters: Length
    power: float

    def __post_init__(self) -> None:
        check_polynomial(**vars(self))


@dataclass(frozen=True)
class Exponential:
    """The schedule ``exponential``."""

    base_lr: Rates
    gamma: float

    def __post_init__(self) -> None:
        check_exponential(**vars(self))


@dataclass(frozen=True)
class Step:
    """The schedule ``step``."""

    base_lr: Rates
    step_size: Length
    gamma: float

    def __post_init__(self) -> None:
        check_step(**vars(self))


@dataclass(frozen=True)
class MultiStep:
    """The schedule ``multistep``."""

    base_lr: Rates
    milestones: tuple[Length, ...]
    gamma: float

    def __post_init__(self) -> None:
        check_multistep(**vars(self))


@dataclass(frozen=True)
class Sequence:
    """The schedule ``sequence``."""

    parts: Mapping[str, Choice]
    lengths: Mapping[str, Length | None]

    def __post_init__(self) -> None:
        check_sequence(**vars(self))
