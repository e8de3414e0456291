"""The settings that do not belong to a part, and their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from runner.config.by_name import Multiplier, Patterns
from runner.config.lengths import Length
from runner.config.markers import InSteps, Number
from runner.config.types import Count, InnerShare, NonNegative, Positive, PositiveShare, Seed
from runner.errors import INT32_MAX, ConfigError

Accelerator = Literal["auto", "cpu", "gpu", "tpu"]
WrittenLength = Annotated[Length, InSteps()]


@dataclass(frozen=True)
class General:
    """The top-level settings."""

    seed: Seed
    accelerator: Accelerator
    compilation_cache: bool | str
    metric: str
    plugins: tuple[str, ...]
    resume: str | None
    resume_changes: bool
    init_from: str | None
    init_params_only: bool

    def __post_init__(self) -> None:
        if self.compilation_cache == "":
            problem = "'' does not name a folder"
            raise ConfigError("compilation_cache", problem, "write true, false or a folder")
        if self.init_params_only and self.init_from is None:
            problem = "true, but no run is named to take the parameters from"
            raise ConfigError("init_params_only", problem, "add init_from=RUN_FOLDER")


@dataclass(frozen=True)
class Training:
    """The section ``training``; ``steps``, if set, takes precedence over ``epochs``."""

    epochs: Annotated[float, Number(gt=0, le=INT32_MAX)] | None
    steps: WrittenLength | None
    batch_size: Count
    accumulate: Count
    compute_dtype: Literal["float32", "bfloat16"]
    ema_decay: InnerShare | None
    log_every: WrittenLength
    eval_every: WrittenLength | None
    eval_at_cycle_end: bool
    snapshots: bool
    patience: Count | None
    min_delta: NonNegative
    dispatch: Literal["auto", "scan", "step"]
    chunk: Literal["auto"] | Count
    on_divergence: Literal["stop", "back_off"]

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise ConfigError("epochs", "is null, and so is training.steps", "set one of them")
        if isinstance(self.steps, str) and "%" in self.steps:
            problem = f"{self.steps!r} is a share of the run's length, which this setting defines"
            raise ConfigError("steps", problem, "write steps (500) or epochs (4ep)")


@dataclass(frozen=True)
class DatasetSettings:
    """The settings that every data set has in addition to its own.

    Attributes:
      validation: the share of the training examples that is held out for validation.
      split_seed: the seed of their random choice.
      placement: where the examples are while training.
      mean, std: of the inputs, instead of those of the training examples.
    """

    validation: Annotated[float, Number(ge=0, lt=1)]
    split_seed: Seed
    placement: Literal["auto", "device", "host", "stream"]
    mean: Annotated[float, Number()] | tuple[float, ...] | None
    std: Positive | tuple[float, ...] | None


@dataclass(frozen=True)
class AugmentationSettings:
    """The section ``augmentation``; null and false leave a change out."""

    crop_padding: Count | None
    flip: bool
    cutout: Count | None
    mixup: Positive | None
    cutmix: Positive | None


@dataclass(frozen=True)
class CheckpointSettings:
    """The section ``checkpoint``; without ``every`` nothing is saved."""

    every: Literal["auto"] | WrittenLength | None
    keep: Count
    best: bool
    cycle_ends: bool


@dataclass(frozen=True)
class LookaheadSettings:
    """The section ``optimizer.lookahead``; without a ``sync_period`` there is no lookahead."""

    sync_period: Count | None
    slow_step_size: PositiveShare


@dataclass(frozen=True)
class WrapperSettings:
    """The settings that every optimizer has in addition to its own.

    Attributes:
      groups: name → patterns of the paths of the parameters in the group.
      frozen: names of the groups that are not trained.
      layer_decay: each layer's rate as a fraction of the rate of the layer above it.
    """

    clip_value: Positive | None
    clip_norm: Positive | None
    lookahead: LookaheadSettings
    groups: Mapping[str, Annotated[tuple[str, ...], Patterns()]]
    frozen: tuple[str, ...]
    multiplier: Annotated[float | tuple[float, ...] | Mapping[str, float], Multiplier()]
    layer_decay: PositiveShare | None
