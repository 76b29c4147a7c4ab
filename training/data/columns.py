"""Finds out what the columns of a table are. Knows nothing of sequences or networks.

A column is numbers when everything in it that is not missing reads as one; a column of which nearly all does
has a mistake in it, which is told by row. Anything else is a category.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.file import FIRST_ROW, TableError

Kind = Literal["number", "category"]

NEARLY = 0.9  # the share of a column that makes the rest of it mistakes
MOST_KINDS = 1000  # a column of more different texts is no category
FEW = 20  # rows, of which all may have another text without anything being odd about it
LARGEST = float(np.finfo(np.float32).max)
COMMA = r"^\s*[-+]?\d+,\d+\s*$"  # how half the world writes a fraction


@dataclass(frozen=True)
class Column:
    """A column and what it was taken for."""

    name: str
    kind: Kind
    values: pl.Series  # numbers, or texts
    kinds: tuple[str, ...] = field(default=())  # of a category, in order
    doubt: str = ""  # what may be wrong with that

    @property
    def num_missing(self) -> int:
        """How many rows have nothing here."""
        return self.values.null_count()

    @property
    def is_empty(self) -> bool:
        """Whether all rows have nothing here."""
        return self.num_missing == len(self.values)


class Times(NamedTuple):
    """A column of times."""

    values: NDArray[np.float64]  # seconds; in what nobody knows if these are plain numbers
    has_unit: bool


def find(table: pl.DataFrame, name: str, flag: str) -> pl.Series:
    """A column by its name. Raises TableError that proposes what may be meant."""
    if name in table.columns:
        return table[name]
    near = get_close_matches(name, table.columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TableError(f"{flag} {name!r}: there is no such column among {', '.join(table.columns)}{hint}")


def texts_of(values: pl.Series) -> pl.Series:
    """A column as texts. Raises TableError where its rows hold more than one value."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"column {values.name!r} holds {values.dtype}, and not a number, text or time: --ignore it"
        ) from error


def typed(values: pl.Series, *, is_category: bool = False) -> Column:
    """What a column is. Raises TableError where it is nearly numbers, or texts without end."""
    if values.dtype.is_numeric() and not is_category:
        return Column(values.name, "number", _finite(values.cast(pl.Float64), values))
    if values.dtype.is_temporal():
        raise TableError(f"column {values.name!r} has times: give it as --time-column, or --ignore it")
    texts = texts_of(values)
    if not is_category:
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
        wrong = (texts.is_not_null() & numbers.is_null()).arg_true()
        known = len(texts) - texts.null_count()
        if not len(wrong):
            return Column(values.name, "number", _finite(numbers, texts))
        if known - len(wrong) >= NEARLY * known:
            row = int(wrong[0])
            raise TableError(
                f"row {row + FIRST_ROW}, column {values.name!r}: {texts[row]!r} is no number, but "
                f"{1 - len(wrong) / known:.1%} of the column are; mend it, or say --categorical {values.name}"
            )
    kinds = tuple(sorted(texts.drop_nulls().unique().to_list()))
    doubt = "" if is_category else _doubt(texts, len(kinds))
    if len(kinds) > MOST_KINDS:
        raise TableError(
            f"column {values.name!r} has {len(kinds)} different texts, too many for a category: "
            f"{doubt or '--ignore it'}"
        )
    return Column(values.name, "category", texts, kinds, doubt)


def times(values: pl.Series) -> Times:
    """A column of times, ISO 8601 or plain numbers. Raises TableError where a row has none."""
    if values.dtype.is_numeric():
        return Times(_whole(values.cast(pl.Float64), values), has_unit=False)
    if not values.dtype.is_temporal():
        texts = texts_of(values)
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
        if not (texts.is_not_null() & numbers.is_null()).any():
            return Times(_whole(numbers, values), has_unit=False)
        return Times(_whole(_seconds(_moments(texts)), values), has_unit=True)
    if values.dtype == pl.Time:  # of a day
        return Times(_whole(values.cast(pl.Int64).cast(pl.Float64) / 1e9, values), has_unit=True)
    if values.dtype == pl.Duration:
        return Times(_whole(_seconds(values.cast(pl.Duration("us"))), values), has_unit=True)
    return Times(_whole(_seconds(values.cast(pl.Datetime("us"))), values), has_unit=True)


def _moments(texts: pl.Series) -> pl.Series:
    """Texts as moments; null where one is none."""
    try:
        moments = texts.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.ComputeError:  # polars knows the format of none of them
        moments = pl.Series(texts.name, [None] * len(texts), dtype=pl.Datetime("us"))
    if moments.null_count() == len(moments):
        moments = texts.str.to_date(strict=False).cast(pl.Datetime("us"))
    return moments


def _seconds(moments: pl.Series) -> pl.Series:
    """Microseconds, since whenever, as seconds."""
    return moments.cast(pl.Int64).cast(pl.Float64) / 1e6


def _whole(found: pl.Series, told: pl.Series) -> NDArray[np.float64]:
    """Every row must have a time."""
    wrong = (found.is_null() | ~found.is_finite()).fill_null(value=True).arg_true()
    if len(wrong):
        row = int(wrong[0])
        why = (
            "the time is missing"
            if told[row] is None
            else f"{told[row]!r} is no time (ISO 8601, or a number)"
        )
        raise TableError(f"row {row + FIRST_ROW}, column {told.name!r}: {why}")
    return found.to_numpy()


def _finite(numbers: pl.Series, told: pl.Series) -> pl.Series:
    """What is no number is missing, and what no float32 can hold is refused."""
    numbers = numbers.fill_nan(None)
    beyond = (numbers.abs() > LARGEST).fill_null(value=False).arg_true()
    if len(beyond):
        row = int(beyond[0])
        raise TableError(
            f"row {row + FIRST_ROW}, column {told.name!r}: {told[row]} is too large a number; "
            "leave the field empty where none is known"
        )
    return numbers


def _doubt(texts: pl.Series, num_kinds: int) -> str:
    """Why texts may not be what a category is made of."""
    known = texts.drop_nulls()
    if known.str.contains(COMMA).sum() >= NEARLY * len(known):
        return f"numbers with a decimal comma, as {known[0]!r}, are texts here; write a point"
    if len(known) >= FEW and num_kinds >= NEARLY * len(known):
        return "nearly every row has another text, so that no kind can be learnt; --ignore it"
    return ""
