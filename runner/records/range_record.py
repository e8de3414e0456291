"""Writes what a range test found: a table, a result, and a scheduler option; reads the result."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.errors import FLOAT32_MAX, INT32_MAX
from runner.ranges import LONGEST, SHORTEST, Answer, Curve, NoAnswer, Spread
from runner.records.json_files import read_json
from runner.records.run_folder import OPTIONS, RANGE_RESULT, replace_file
from runner.records.table import write_table

TABLE, PICTURE = "range_test.csv", "range_test.png"
OPTION = "suggested"
OPTION_FILE = f"{OPTIONS}/{OPTION}.yaml"


@dataclass(frozen=True)
class EarlierAnswer:
    """The answer of an earlier range test, and the length in steps of the run it was made for."""

    answer: Answer
    steps: int


def write_curves(path: Path, curves: Mapping[Any, Sequence[Curve]], *, over: str | None) -> None:
    """Writes the table ``seed,step,lr,loss,smoothed_loss``; ``over`` adds a first column.

    Args:
      curves: by value of the setting ``over``; a single entry without one.

    Raises:
      StorageError: the file exists, or cannot be written.
    """
    write_table(path, _blocks(curves, over))


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Writes ``range_test.json`` atomically; NaN and infinities become null.

    Raises:
      StorageError: it cannot be written.
    """
    text = json.dumps(_finite(result), indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(folder / RANGE_RESULT, text + "\n")


def result_of(answer: Answer | NoAnswer) -> dict[str, Any]:
    """The answer as a part of a result."""
    if isinstance(answer, NoAnswer):
        return {"answer": None, **asdict(answer)}
    return {"answer": asdict(answer)}


def read_result(folder: Path) -> EarlierAnswer | None:
    """The answer of an earlier range test in ``folder``; None if there is no valid one."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        result = read_json(folder / RANGE_RESULT)
        found, steps = dict(result["answer"]), result["steps"]
        for name in ("base_lr_spread", "max_lr_spread"):
            found[name] = Spread(**found[name])
        answer = Answer(**{**found, "reasons": tuple(found["reasons"])})
        if _is_answer(answer) and type(steps) is int and 0 < steps <= INT32_MAX:
            return EarlierAnswer(answer, steps)
    return None


def clear(folder: Path) -> None:
    """Removes the files of an interrupted range test.

    Raises:
      OSError: a file cannot be removed.
    """
    for name in (RANGE_RESULT, OPTION_FILE, PICTURE, TABLE):
        (folder / name).unlink(missing_ok=True)


def write_option(folder: Path, section: Mapping[str, Any], *, comments: Iterable[str]) -> None:
    """Writes a scheduler option for ``--config-dir FOLDER scheduler=suggested``.

    Raises:
      StorageError: it cannot be written.
    """
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    path = folder / OPTION_FILE
    path.parent.mkdir(exist_ok=True)
    replace_file(path, "\n".join([*lines, "", *_yaml(section), ""]))


def _blocks(curves: Mapping[Any, Sequence[Curve]], over: str | None) -> Iterable[dict[str, Any]]:
    for value, group in curves.items():
        for curve in group:
            n = len(curve.losses)
            block = {
                "seed": np.full(n, curve.seed),
                "step": np.arange(n),
                "lr": curve.rates,
                "loss": curve.losses,
                "smoothed_loss": curve.smoothed,
            }
            yield block if over is None else {over: np.full(n, value), **block}


def _yaml(section: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_yaml_value(value)}"


def _yaml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml_value, value))}]"
    if isinstance(value, float):
        text = repr(value)  # without a decimal point, YAML reads 1e-05 as a string
        mantissa, e, exponent = text.partition("e")
        return text if "." in mantissa else f"{mantissa}.0{e}{exponent}"
    return json.dumps(value, ensure_ascii=False)  # a string, a whole number, true, null or {}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _is_answer(answer: Answer) -> bool:
    """Whether the values of ``answer``, which a file gave, are those of a range test."""
    spreads = (answer.base_lr_spread, answer.max_lr_spread)
    rates = [answer.base_lr, answer.max_lr, *(end for s in spreads for end in (s.low, s.high))]
    return (
        all(type(rate) in (int, float) and 0 < rate <= FLOAT32_MAX for rate in rates)
        and answer.base_lr <= answer.max_lr
        and type(answer.step_size_epochs) in (int, float)
        and SHORTEST <= answer.step_size_epochs <= LONGEST
        and all(isinstance(reason, str) for reason in answer.reasons)
    )
