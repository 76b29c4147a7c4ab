"""Reads a CSV or Parquet file as it is, or says in which row it cannot be read. Knows nothing of its columns.

Rows are counted as an editor shows a CSV file: the header is row 1.
"""

import codecs
import contextlib
import csv
import io
import re
from pathlib import Path

import polars as pl

from training.errors import TrainingError

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"]
FIRST_ROW = 2  # of the data, the header being row 1
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # those that are not ours


class TableError(TrainingError):
    """The table cannot be learnt from as it is; the message says in which row and column."""


def read(path: Path) -> pl.DataFrame:
    """A CSV file as texts, or a Parquet file as it is. Raises TableError."""
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    try:
        if is_parquet:
            table = pl.read_parquet(path)
        else:
            _check_encoding(path)
            table = pl.read_csv(path, infer_schema=False, null_values=MISSING)
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        known = None if is_parquet else _fault(path.read_bytes())
        raise TableError(f"{path}{known or ': ' + str(error).splitlines()[0]}") from error
    if not len(table):
        raise TableError(f"{path} has no rows")
    _check_header(path, table.columns)
    if not is_parquet and table.to_series(-1).has_nulls():  # as it also has where a row ends too early
        with contextlib.suppress(UnicodeDecodeError):  # what is compressed is read, too, but not by us
            if fault := _uneven(path.read_bytes().decode("utf-8-sig")):
                raise TableError(f"{path}{fault}")
    return table


def _check_encoding(path: Path) -> None:
    """Refuse UTF-16, which polars reads as texts with a NUL between letters."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise TableError(f"{path}: this is UTF-16; save it as UTF-8")


def _check_header(path: Path, names: list[str]) -> None:
    for name in names:
        twice = re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)  # what polars makes of the second
        if twice and twice[1] in names:
            raise TableError(f"{path}, row 1: two columns are called {twice[1]!r}; rename one")
    if len(names) == 1:
        for separator, called in SEPARATORS.items():
            if separator in names[0]:
                raise TableError(
                    f"{path}, row 1: one column, {names[0]!r}; commas part fields here, not {called}"
                )


def _fault(content: bytes) -> str | None:
    """What to say of a CSV file that polars cannot read; None: nothing better than polars does."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        return f", row {row}: this is not UTF-8, but perhaps Latin-1 or Windows-1252; save it as UTF-8"
    return _uneven(text)


def _uneven(text: str) -> str | None:
    """What to say of the first row that has not as many fields as the header."""
    rows = csv.reader(io.StringIO(text, newline=""))
    width = len(next(rows, []))
    for number, fields in enumerate(rows, FIRST_ROW):
        if fields and len(fields) != width:
            hint = "; a text with a comma in it needs quotes" if len(fields) > width else ""
            return f", row {number}: the header has {width} fields, this row {len(fields)}{hint}"
    return None
