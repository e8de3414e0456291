"""Range and cross-field checks shared by the configuration and the library's constructors.

Each check returns None or raises a ``ConfigError`` that names the argument, its value, what is
allowed and what to write. Nothing here imports jax, so bad settings are answered at once.
"""

from runner.checks.values import (
    FLOAT32_MAX,
    FLOAT32_TINY,
    INT32_MAX,
    between,
    finite,
    flag,
    one_of,
    positive,
    shown,
    whole,
    widths,
)

__all__ = [
    "FLOAT32_MAX",
    "FLOAT32_TINY",
    "INT32_MAX",
    "between",
    "finite",
    "flag",
    "one_of",
    "positive",
    "shown",
    "whole",
    "widths",
]
