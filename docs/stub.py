"""Writes ``runner/schedules/__init__.pyi``, which tells editors and type checkers what it exports.

The package discovers its schedules when it is imported, so they are not visible in its source.
"""

from pathlib import Path

from runner import schedules

PATH = Path(schedules.__file__).with_suffix(".pyi")


def text() -> str:
    """The text of the stub."""
    imports = sorted(f"from {_module(name)} import {name} as {name}" for name in schedules.__all__)
    head = ["# Written by docs/stub.py: run it again after adding a schedule.", ""]
    listed = ["", "__all__: list[str]", ""]
    return "\n".join([*head, *imports, *listed])


def _module(name: str) -> str:
    return getattr(schedules, name).__module__


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
