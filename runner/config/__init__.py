"""The typed configuration and the validation of plain values; imports neither jax nor Hydra."""

from runner.config.sections import LookaheadSettings, Training, WrapperSettings
from runner.config.settings import Choice, Config, read_config

__all__ = ["Choice", "Config", "LookaheadSettings", "Training", "WrapperSettings", "read_config"]
