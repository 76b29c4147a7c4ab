"""Decides the type of each column of a table. Knows nothing of sequences or networks.

A column is numeric if every value that is not missing parses as a number. If nearly all parse, the others are
mistakes, and an error names the first. Any other column is a category.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

import numpy as np
import polars as pl

from training.data.file import FIRST_ROW, TableError

Kind = Literal["number", "category"]

NEARLY = 0.9  # if this share of a column parses as numbers, the rest are mistakes
MOST_CATEGORIES = 1000  # a column of more different texts is not a category
FEW = 20  # fewer rows than this may all have different texts without a note
LARGEST = float(np.finfo(np.float32).max)
COMMA = r"^\s*[-+]?\d+,\d+\s*$"  # a decimal comma


@dataclass(frozen=True)
class Column:
    """A column and its type."""

    name: str
    kind: Kind
    values: pl.Series  # numbers, or texts
    categories: tuple[str, ...] = field(default=())  # sorted; of a number none
    doubt: str = ""  # why the type may be wrong
    role: str = ""  # how it is read, if not by its kind

    @property
    def num_missing(self) -> int:
        """The number of rows without a value."""
        return self.values.null_count()

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value."""
        return self.num_missing == len(self.values)


def find(frame: pl.DataFrame, name: str, flag: str) -> pl.Series:
    """A column by its name. Raises TableError that proposes a similar name."""
    if name in frame.columns:
        return frame[name]
    near = get_close_matches(name, frame.columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TableError(f"{flag} {name!r}: there is no such column among {', '.join(frame.columns)}{hint}")


def texts_of(values: pl.Series) -> pl.Series:
    """A column as texts. Raises TableError if its rows hold more than one value."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"column {values.name!r} holds {values.dtype}, not a number, text or time: --ignore it"
        ) from error


def typed(values: pl.Series, *, is_category: bool = False) -> Column:
    """A column with its type. Raises TableError for nearly numeric columns and for too many categories."""
    if values.dtype.is_numeric() and not is_category:
        return Column(values.name, "number", _finite(values.cast(pl.Float64), values))
    if values.dtype.is_temporal():
        raise TableError(f"column {values.name!r} holds times: name it as --time-column, or --ignore it")
    texts = texts_of(values)
    if not is_category and (numbers := _numbers(texts)) is not None:
        return Column(values.name, "number", _finite(numbers, texts))
    categories = tuple(sorted(texts.drop_nulls().unique().to_list()))
    doubt = "" if is_category else _doubt(texts, len(categories))
    if len(categories) > MOST_CATEGORIES:
        raise TableError(
            f"column {values.name!r} has {len(categories)} different texts, too many for a category: "
            f"{doubt or '--ignore it'}"
        )
    return Column(values.name, "category", texts, categories, doubt)


def _numbers(texts: pl.Series) -> pl.Series | None:
    """Texts as numbers; None if they are categories. Raises TableError if nearly all are numbers."""
    numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
    wrong = (texts.is_not_null() & numbers.is_null()).arg_true()
    if not len(wrong):
        return numbers
    known = len(texts) - texts.null_count()
    if known - len(wrong) < NEARLY * known:
        return None
    row = int(wrong[0])
    raise TableError(
        f"row {row + FIRST_ROW}, column {texts.name!r}: {texts[row]!r} is not a number, but "
        f"{1 - len(wrong) / known:.1%} of the column are; correct it, or add --categorical {texts.name}"
    )


def _finite(numbers: pl.Series, raw: pl.Series) -> pl.Series:
    """The numbers with NaN as missing. Raises TableError for a number that float32 cannot hold."""
    numbers = numbers.fill_nan(None)
    beyond = (numbers.abs() > LARGEST).fill_null(value=False).arg_true()
    if len(beyond):
        row = int(beyond[0])
        raise TableError(
            f"row {row + FIRST_ROW}, column {raw.name!r}: {raw[row]} is too large a number; "
            "leave the field empty if the value is unknown"
        )
    return numbers


def _doubt(texts: pl.Series, num_categories: int) -> str:
    """Why a column of texts may not be a category."""
    known = texts.drop_nulls()
    if known.str.contains(COMMA).sum() >= NEARLY * len(known):
        return f"numbers with a decimal comma, such as {known[0]!r}, are read as texts; use a decimal point"
    if len(known) >= FEW and num_categories >= NEARLY * len(known):
        return "nearly every row has a different text, so the categories cannot be learned; --ignore it"
    return ""
