"""The typed configuration and the validation of plain values; imports neither jax nor Hydra."""

from runner.config.choice import Choice
from runner.config.ranking import Ranking
from runner.config.sections import (
    AugmentationSettings,
    DatasetSettings,
    LookaheadSettings,
    Training,
    WrapperSettings,
)
from runner.config.settings import Config, read_config

__all__ = [
    "AugmentationSettings",
    "Choice",
    "Config",
    "DatasetSettings",
    "LookaheadSettings",
    "Ranking",
    "Training",
    "WrapperSettings",
    "read_config",
]
