"""The typed configuration, and how plain values become it; no jax, no Hydra."""

from runner.config.sections import LookaheadSettings, Training, WrapperSettings
from runner.config.settings import Choice, Config, read_config

__all__ = ["Choice", "Config", "LookaheadSettings", "Training", "WrapperSettings", "read_config"]
