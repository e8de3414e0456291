"""A declarative training runner for learning-rate policies."""

__version__ = "0.1.0"
