"""Reads the columns of a table, as numbers or as texts, from a CSV or a Parquet file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from etils import epy

from runner.data.files import missing_extra, opened
from runner.errors import FLOAT32_MAX, DataError, nearest, reason, shown

with epy.lazy_imports():
    import numpy as np

_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True)
class Column:
    """The values of one column.

    Attributes:
      key: names the column in errors.
      values: texts or numbers, in the order of the rows; None or an empty text if missing.
      rows: the row of each value, as errors name it: the line of a CSV file, else from 1.
      kind: ``whole`` or ``real`` numbers, ``text``, or another type, which cannot be used.
    """

    key: str
    values: Sequence[Any]
    rows: Sequence[int]
    kind: str

    def numbers(self) -> np.ndarray:
        """The values as float64.

        Raises:
          DataError: one is not a finite number that float32 holds; its row is named.
        """
        found = np.array([_number(value) for value in self.values], np.float64)
        in_range = np.abs(found) <= FLOAT32_MAX
        if not in_range.all():
            index = int(np.argmin(in_range))
            problem = f"row {self.rows[index]} has {shown(self.values[index])}, not a finite number"
            raise DataError(self.key, problem, "fix it, or list the column in dataset.categorical")
        return found

    def texts(self) -> list[str]:
        return [str(value).strip() for value in self.values]


Table = dict[str, Column]


def read_table(path: Path, *, delimiter: str) -> Table:
    """The columns of a table, by name, in their order.

    A file is Parquet if its name ends in ``.parquet``, else CSV in UTF-8 with a header, plain or
    compressed (``.gz``).

    Raises:
      ConfigError: a package that the format needs is not installed.
      DataError: the file is damaged or has no rows, a row has more or fewer values than the
        header, or two columns have the same name.
    """
    columns = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, delimiter)
    names = [name for name, _ in columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        problem = f"has several columns called {shown(repeated[0])}"
        raise DataError(str(path), problem, "give each column a name of its own")
    if not columns or not columns[0][1].rows:
        raise DataError(str(path), "has no rows", "give a header and one or more rows")
    return dict(columns)


def column_of(table: Table, path: Path, name: str) -> Column:
    """A column by name, which has a value in each row.

    Raises:
      DataError: there is no such column, a value is missing, or the values are of another type
        than numbers and texts.
    """
    if name not in table:
        raise DataError(str(path), f"has no column {shown(name)}", nearest(name, table))
    column = table[name]
    if column.kind not in ("whole", "real", "text"):
        remedy = "store it as numbers or texts, or leave it out of dataset.columns"
        raise DataError(column.key, f"has values of type {column.kind}", remedy)
    for row, value in zip(column.rows, column.values, strict=True):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):
            remedy = "fill it in, remove the row, or leave the column out of dataset.columns"
            raise DataError(column.key, f"row {row} has no value", remedy)
    return column


def _read_csv(path: Path, delimiter: str) -> list[tuple[str, Column]]:
    rows: list[list[str]] = []
    lines: list[int] = []
    with opened(path, "copy it again") as binary:
        file = io.TextIOWrapper(cast(IO[bytes], binary), "utf-8-sig", newline="")
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            for row in filter(None, reader):
                if len(row) != len(header):
                    problem = (
                        f"row {reader.line_num} has {len(row)} values for {len(header)} columns"
                    )
                    raise DataError(str(path), problem, "fix it, or set dataset.delimiter")
                rows.append(row)
                lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            problem = f"is not CSV in UTF-8 after row {reader.line_num} ({reason(error)})"
            raise DataError(str(path), problem, "save it as CSV in UTF-8") from error
    return [
        (name, Column(f"{path}: column {name}", values, lines, _kind(values)))
        for name, values in zip(header, zip(*rows, strict=True), strict=bool(rows))
    ]


def _kind(written: Sequence[str]) -> str:
    """The kind of a CSV column; real if most values are, so that the others give an error."""
    if all(map(_WHOLE.fullmatch, written)):
        return "whole"
    numeric = sum(number == number for number in map(_number, written))
    return "real" if 2 * numeric > len(written) else "text"


def _read_parquet(path: Path) -> list[tuple[str, Column]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "table") from error
    with opened(path) as file:
        try:
            table = parquet.read_table(file)
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"is not a Parquet file, or is damaged ({reason(error)})"
            raise DataError(str(path), problem, "save it again") from error
    columns = []
    for name, values in zip(table.column_names, table.columns, strict=True):
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            kind = "text"
        elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            kind = "whole"
        elif pa.types.is_floating(kind):
            kind = "real"
        rows = range(1, len(values) + 1)
        listed = values.to_pylist() if isinstance(kind, str) else ()
        columns.append((name, Column(f"{path}: column {name}", listed, rows, str(kind))))
    return columns


def _number(value: Any) -> float:
    """A value as a number, NaN if it is not one."""
    try:
        return float("nan" if isinstance(value, str) and "_" in value else value)
    except ValueError:
        return float("nan")
