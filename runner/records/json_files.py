"""Reads the JSON files of a run folder, which may come from anywhere."""

import json
import math
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """The contents of a JSON file; its integers can be converted to floats.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not a file (a pipe could be read for ever), not JSON, nested too deeply, or
        holds an integer that is out of the range of floats.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is not a file")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_int=_integer)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def _integer(digits: str) -> int:
    if not math.isfinite(float(digits)):
        raise ValueError(f"an integer of {len(digits)} characters is out of range")
    return int(digits)
