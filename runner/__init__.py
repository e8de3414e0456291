"""A declarative training runner for learning-rate policies."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.saved import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports ``load``, and the libraries that it needs, on first use."""
    if name == "load":
        from runner.saved import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
