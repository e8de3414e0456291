"""Data: sources, the order of examples, the feed to the device."""

from runner.data import digits, idx

__all__ = ["digits", "idx"]
