"""What a checkpoint records of its run beside the arrays; whatever wrote it, it is checked."""

import math
from collections.abc import Callable, Mapping
from typing import Any


def check_run_record(record: Any) -> None:
    """Checks the types of a record's parts; a part may be missing.

    Raises:
      ValueError: one is of another type.
    """
    if not isinstance(record, Mapping):
        raise ValueError("the record of the run is not a mapping")
    for name, is_valid in _PARTS.items():
        if name in record and not is_valid(record[name]):
            raise ValueError(f"{name} is not what a run records")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_parent(value: Any) -> bool:
    return value is None or (
        isinstance(value, Mapping)
        and isinstance(value.get("folder"), str)
        and _is_count(value.get("step"))
    )


def _is_data(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("shape"), list):
        return False
    return (
        all(map(_is_count, value["shape"]))
        and _is_count(value.get("num_classes"))
        and _is_number(value.get("mean"))
        and _is_number(value.get("std"))
        and value["std"] > 0
        and (value.get("classes", ()) is None or _is_texts(value.get("classes")))
    )


_PARTS: Mapping[str, Callable[[Any], bool]] = {
    "settings": lambda value: isinstance(value, Mapping),
    "steps": lambda value: _is_count(value) and value > 0,
    "plugins": _is_texts,
    "time": _is_number,
    "parent": _is_parent,
    "data": _is_data,
}
