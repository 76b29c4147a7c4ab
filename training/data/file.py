"""Reads a CSV or Parquet file, or reports the row that cannot be read. Knows nothing of its columns.

Rows are numbered as in an editor: the header is row 1.
"""

import codecs
import contextlib
import csv
import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.errors import TrainingError

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")  # texts that mean that there is no value
FIRST_ROW = 2  # number of the first row of data; the header is row 1
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # separators of other formats


class TableError(TrainingError):
    """The table cannot be used; the message names the row and the column."""


# By column and text: the rows, from 0, in which the text is read as missing.
Marks = dict[str, dict[str, NDArray[np.int64]]]


class Content(NamedTuple):
    """A file as a table."""

    frame: pl.DataFrame
    marks: Marks


def listed(rows: Sequence[int] | NDArray[np.int64], most: int = 3) -> str:
    """Rows, counted from 0, for a message: "rows 3, 17, 20 and 4 more" as in an editor."""
    numbers = [f"{row + FIRST_ROW}" for row in sorted(map(int, rows))]
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    more = len(numbers) - most
    if more > 0:
        return f"rows {', '.join(numbers[:most])} and {more:,} more"
    return f"rows {', '.join(numbers[:-1])} and {numbers[-1]}"


def read(path: Path, missing: tuple[str, ...] = MISSING, *, sha256: str | None = None) -> Content:
    """A CSV file as texts, or a Parquet file with its types. Raises TableError.

    `missing`: the texts of a CSV file that mean that there is no value; an empty field always does.
    `sha256`: the expected digest of the file; None: any.
    """
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    content = read_bytes(path, sha256)
    try:
        if is_parquet:
            table = pl.read_parquet(io.BytesIO(content))
        else:
            _check_encoding(path, content)
            table = pl.read_csv(content, infer_schema=False)
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        fault = None if is_parquet else _fault(content)
        raise TableError(f"{path}{fault or ': ' + str(error).splitlines()[0]}") from error
    if not len(table):
        raise TableError(f"{path} has no rows")
    _check_header(path, table.columns)
    marks: Marks = {}
    if not is_parquet:
        if table.to_series(-1).has_nulls():  # also the result of a row that ends too early
            with contextlib.suppress(
                UnicodeDecodeError
            ):  # polars also reads compressed files, this check does not
                if fault := _uneven(content):
                    raise TableError(f"{path}{fault}")
        table, marks = _without_marks(table, missing)
    return Content(table, marks)


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """The content of a file; `sha256`: its expected digest, None: any. Raises TableError.

    It is read once, so that what is parsed is what the digest is of, even if the file changes meanwhile.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from error
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise TableError(f"{path} has changed since the run was started; train into another --out")
    return content


def _without_marks(table: pl.DataFrame, missing: tuple[str, ...]) -> tuple[pl.DataFrame, Marks]:
    """The table with null in the place of the texts that mean that there is no value."""
    marks: Marks = {}
    for column in table:
        is_marked = column.is_in(["", *missing]).fill_null(value=False)
        if not is_marked.any():
            continue
        places = is_marked.arg_true().to_numpy().astype(np.int64)
        texts = column.gather(places)
        marks[column.name] = {
            text: places[(texts == text).to_numpy()] for text in texts.unique() if text != ""
        }
        table = table.with_columns(column.set(is_marked, None))
    return table, marks


def _check_encoding(path: Path, content: bytes) -> None:
    """Raise TableError for UTF-16, which polars reads as texts with a NUL between letters."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TableError(f"{path}: the encoding is UTF-16; save it as UTF-8")


def _check_header(path: Path, names: list[str]) -> None:
    for name in names:
        duplicate = re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)  # polars' name of the second
        if duplicate and duplicate[1] in names:
            raise TableError(f"{path}, row 1: two columns are called {duplicate[1]!r}; rename one")
    if len(names) == 1:
        for separator, plural in SEPARATORS.items():
            if separator in names[0]:
                raise TableError(
                    f"{path}, row 1: one column, {names[0]!r}; separate the fields by commas, not {plural}"
                )


def _fault(content: bytes) -> str | None:
    """The fault of a CSV file that polars cannot read; None if polars' own message is the best."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        return f", row {row}: the encoding is not UTF-8, maybe Latin-1 or Windows-1252; save it as UTF-8"
    return _uneven(content)


def _uneven(content: bytes) -> str | None:
    """The first row whose number of fields differs from the header's. Raises UnicodeDecodeError."""
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""))
    width = len(next(rows, []))
    for number, fields in enumerate(rows, FIRST_ROW):
        if fields and len(fields) != width:
            hint = "; a text with a comma in it needs quotes" if len(fields) > width else ""
            return f", row {number}: the header has {width} fields, this row {len(fields)}{hint}"
    return None
