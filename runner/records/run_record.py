"""Validates the record of the run in a checkpoint, which may come from anywhere."""

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


# The types that inputs may have; normalised inputs are float32.
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
# The fields of ``objectives.Targets``.
_TARGETS = {"shape", "num_classes", "counts", "token_bytes", "mean", "std"}


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
        and value.get("dtype") in _DTYPES
        and _are_numbers(value.get("mean"))
        and _are_numbers(value.get("std"))
        and (value["mean"] is None) == (value["std"] is None)
        and all(std > 0 for std in _listed(value["std"]))
        and all(_fits(value[name], value["shape"]) for name in ("mean", "std"))
        and (value.get("classes", ()) is None or _is_texts(value.get("classes")))
        and _is_targets(value.get("targets"))
    )


def _is_targets(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != _TARGETS:
        return False
    counts = [*_listed(value["counts"]), *_listed(value["token_bytes"]), *_listed(value["shape"])]
    return (
        isinstance(value["shape"], list)
        and (value["num_classes"] is None or _is_count(value["num_classes"]))
        and all(map(_is_count, counts))
        and _are_numbers(value["mean"])
        and _are_numbers(value["std"])
        and all(std > 0 for std in _listed(value["std"]))
    )


def _are_numbers(value: Any) -> bool:
    """Whether ``value`` is a number, a list of them, or None."""
    return all(map(_is_number, _listed(value)))


def _fits(value: Any, shape: list[int]) -> bool:
    """Whether ``value`` is None, one number, or one for each channel, the last axis of inputs."""
    return len(_listed(value)) in (0, 1, *shape[-1:])


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


_PARTS: Mapping[str, Callable[[Any], bool]] = {
    "settings": lambda value: isinstance(value, Mapping),
    "steps": lambda value: _is_count(value) and value > 0,
    "plugins": _is_texts,
    "time": _is_number,
    "parent": _is_parent,
    "data": _is_data,
}
