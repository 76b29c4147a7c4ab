"""Reads a table and finds out what its columns are. Knows nothing of sequences or networks.

A column is numbers when everything in it that is not missing reads as one; a column of which nearly all does
has a mistake in it, which is told by row. Anything else is a category. Rows are counted as an editor shows a
CSV file: the header is row 1.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import polars as pl

from training.errors import TrainingError

Kind = Literal["number", "category", "time"]

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"]
FIRST_ROW = 2  # of the data, the header being row 1
NEARLY = 0.9  # the share of a column that makes the rest of it mistakes
MOST_KINDS = 1000  # a column of more different texts is no category


class TableError(TrainingError):
    """The table cannot be learnt from as it is; the message says in which row and column."""


@dataclass(frozen=True)
class Column:
    """A column and what it was taken for."""

    name: str
    kind: Kind
    values: pl.Series  # numbers, texts, or seconds
    kinds: tuple[str, ...] = field(default=())  # of a category, in order

    @property
    def num_missing(self) -> int:
        """How many rows have nothing here."""
        return self.values.null_count()


def read(path: Path) -> pl.DataFrame:
    """A CSV file as texts, or a Parquet file as it is. Raises TableError."""
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, infer_schema=False, null_values=MISSING)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(f"{path}: {str(error).splitlines()[0]}") from error
    if not len(table):
        raise TableError(f"{path} has no rows")
    return table


def find(table: pl.DataFrame, name: str, flag: str) -> pl.Series:
    """A column by its name. Raises TableError that proposes what may be meant."""
    if name in table.columns:
        return table[name]
    near = get_close_matches(name, table.columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TableError(f"{flag} {name!r}: there is no such column among {', '.join(table.columns)}{hint}")


def typed(values: pl.Series, *, is_category: bool = False) -> Column:
    """What a column is. Raises TableError where it is nearly numbers, or texts without end."""
    if values.dtype.is_numeric() and not is_category:
        return Column(values.name, "number", values.cast(pl.Float64).fill_nan(None))
    if values.dtype.is_temporal():
        raise TableError(f"column {values.name!r} has times: give it as --time-column, or --ignore it")
    texts = values.cast(pl.String)
    if not is_category:
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
        wrong = (texts.is_not_null() & numbers.is_null()).arg_true()
        known = len(texts) - texts.null_count()
        if not len(wrong):
            return Column(values.name, "number", numbers)
        if known - len(wrong) >= NEARLY * known:
            row = int(wrong[0])
            raise TableError(
                f"row {row + FIRST_ROW}, column {values.name!r}: {texts[row]!r} is no number, but "
                f"{1 - len(wrong) / known:.1%} of the column are; mend it, or say --categorical {values.name}"
            )
    kinds = tuple(sorted(texts.drop_nulls().unique().to_list()))
    if len(kinds) > MOST_KINDS:
        raise TableError(
            f"column {values.name!r} has {len(kinds)} different texts, too many for a category: --ignore it"
        )
    return Column(values.name, "category", texts, kinds)


def seconds(values: pl.Series) -> Column:
    """A column of times, ISO 8601 or plain numbers, as seconds. Raises TableError."""
    if values.dtype.is_temporal():
        moments = values.cast(pl.Datetime("us"))
    elif values.dtype.is_numeric():
        return _whole(Column(values.name, "time", values.cast(pl.Float64)), values)
    else:
        numbers = values.cast(pl.Float64, strict=False)
        if not numbers.is_null().any():
            return Column(values.name, "time", numbers)
        try:
            moments = values.str.to_datetime(time_unit="us", strict=False)
        except pl.exceptions.ComputeError:  # polars knows the format of none of them
            moments = pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us"))
        if moments.null_count() == len(moments):
            moments = values.str.to_date(strict=False).cast(pl.Datetime("us"))
    found = moments.dt.epoch("us").cast(pl.Float64) / 1e6
    return _whole(Column(values.name, "time", found), values)


def _whole(column: Column, told: pl.Series) -> Column:
    """Every row must have a time."""
    wrong = column.values.is_null().arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise TableError(
            f"row {row + FIRST_ROW}, column {column.name!r}: {told[row]!r} is no time (ISO 8601, or a number)"
        )
    return column
