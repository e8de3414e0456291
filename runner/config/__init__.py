"""The typed configuration, and how plain values become it; no jax, no Hydra."""

from runner.config.settings import Choice, Config, Training, Wrappers, read_config

__all__ = ["Choice", "Config", "Training", "Wrappers", "read_config"]
