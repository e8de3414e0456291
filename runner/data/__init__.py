"""Data: sources, the order of examples, the feed to the device."""

from runner.data import digits

__all__ = ["digits"]
