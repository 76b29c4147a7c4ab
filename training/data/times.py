"""Reads the column of times of a table, and decides its format and zone. Knows nothing of other columns.

A format that can be read in two ways is refused, and one that was concluded is noted; `--time-format` and
`--time-zone` state them.
"""

import re
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from service.manifest import TimeSpec
from training.data.columns import texts_of
from training.data.file import FIRST_ROW, TableError, listed

ISO, OFFSET, NUMBER, SECONDS, DAYS = "iso8601", "offset", "number", "seconds", "%Y%m%d"
ZONED = r"[T ]\d{2}.*([Zz]|[+-]\d{2}(:?\d{2})?)\s*$"  # a time of day, and a zone after it
CLOCK = r"(?:([ T])(\d{1,2}:\d{2})(:\d{2})?(\.\d+)?( ?[AaPp][Mm])?)?\s*$"
YEAR_FIRST = re.compile(r"^\s*\d{4}([/.-])\d{1,2}\1\d{1,2}" + CLOCK)
YEAR_LAST = re.compile(r"^\s*\d{1,2}([/.-])\d{1,2}\1(\d{4}|\d{2})" + CLOCK)
ISO_DATE = re.compile(r"^\s*\d{4}-\d{2}-\d{2}(?!\d)")
FIRST_TWO = r"^\s*(\d{1,2})[/.-](\d{1,2})"
UNIX = {SECONDS: (1e9, 5e9), "milliseconds": (1e12, 5e12)}  # of the years 2001 to 2128
SAY = "--time-format states how times are written"


class Times(NamedTuple):
    """A column of times."""

    values: NDArray[np.float64]  # seconds; plain numbers have an unknown unit
    spec: TimeSpec  # without unit and spacing
    notes: tuple[str, ...] = ()

    @property
    def has_unit(self) -> bool:
        """Whether the values are seconds."""
        return self.spec.format != NUMBER


def times(
    values: pl.Series, *, written: str | None = None, zone: str | None = None, ids: pl.Series | None = None
) -> Times:
    """A column of times. Raises TableError if a row has none, or the format is not certain.

    `written` and `zone`: as in `TimeSpec`; None: by the values. `ids`: the sequence of each row, within which
    the row before decides between the two hours that a clock shows twice; None: all rows are one sequence.
    """
    empty = values.is_null().arg_true()
    if len(empty):
        raise TableError(f"row {empty[0] + FIRST_ROW}, column {values.name!r}: the time is missing")
    if values.dtype.is_temporal():
        if written is not None:
            raise TableError(
                f"--time-format: column {values.name!r} holds {values.dtype}, not texts or numbers"
            )
        return _of_type(values, zone, ids)
    texts = _texts(values)
    notes: tuple[str, ...] = ()
    is_given = written is not None
    if written is None:
        written, notes = _format(values.name, texts)
    if zone is None and written == ISO:
        zone = _zone(values.name, texts)
    spec = _spec(values.name, written, OFFSET if zone is None and "%z" in written else zone)
    if spec.scale is not None:
        return Times(_numbers(values, spec) * spec.scale, spec, notes)
    return Times(_parse(texts, spec, ids, hint="" if is_given else f"; {SAY}"), spec, notes)


def _spec(name: str, written: str, zone: str | None) -> TimeSpec:
    try:
        return TimeSpec(column=name, format=written, zone=zone)
    except ValidationError as error:
        flags = "--time-format and --time-zone" if zone is not None else "--time-format"
        raise TableError(f"{flags}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _texts(values: pl.Series) -> pl.Series:
    """A column as texts; whole numbers without a fraction."""
    if values.dtype.is_float():
        whole = values.cast(pl.Int64, strict=False)
        if not whole.has_nulls() and (whole.cast(values.dtype) == values).all():
            values = whole
    return texts_of(values)


def _numbers(values: pl.Series, spec: TimeSpec) -> NDArray[np.float64]:
    """Numbers as they are. Raises TableError for a row that has none."""
    raw = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = raw.cast(pl.Float64, strict=False)
    wrong = ~numbers.is_finite().fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise TableError(
            f"row {row + FIRST_ROW}, column {values.name!r}: {values[row]!r} is not a time ({spec.expected})"
        )
    return numbers.to_numpy()


def _of_type(values: pl.Series, zone: str | None, ids: pl.Series | None) -> Times:
    """A column whose type is a time of Parquet."""
    written = ISO
    if values.dtype == pl.Time:  # of a day
        written, seconds = "%H:%M:%S", values.cast(pl.Int64).cast(pl.Float64) / 1e9
    elif values.dtype == pl.Duration:
        written, seconds = SECONDS, _seconds(values.cast(pl.Duration("us")))
    else:
        if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone:
            zone = zone or OFFSET
        elif zone is not None:
            local = texts_of(values.cast(pl.Datetime("us")).dt.to_string("iso:strict"))
            return times(local, written=ISO, zone=zone, ids=ids)
        seconds = _seconds(values.cast(pl.Datetime("us")))
    return Times(seconds.to_numpy(), _spec(values.name, written, zone))


def _seconds(moments: pl.Series) -> pl.Series:
    """Microseconds as seconds."""
    return moments.cast(pl.Int64).cast(pl.Float64) / 1e6


def _format(name: str, texts: pl.Series) -> tuple[str, tuple[str, ...]]:
    """The format of a column, and notes about it. Raises TableError for days and months in either order."""
    numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
    if not numbers.has_nulls():
        return _format_of_numbers(name, texts, numbers)
    first = str(texts[0])
    if ISO_DATE.match(first):
        return ISO, ()
    if match := YEAR_FIRST.match(first):
        separator, *clock = match.groups()
        return separator.join(("%Y", "%m", "%d")) + _clock(*clock), ()
    if match := YEAR_LAST.match(first):
        separator, year, *clock = match.groups()
        dates = [separator.join(parts) for parts in (("%d", "%m", "%Y"), ("%m", "%d", "%Y"))]
        if len(year) == 2:
            raise TableError(
                f"row {FIRST_ROW}, column {name!r}: the order of day, month and year of {first!r} is not "
                f"known; --time-format {dates[0].lower()}{_clock(*clock)}, for example, states it"
            )
        return _day_or_month_first(name, texts, *(date + _clock(*clock) for date in dates))
    return ISO, ()


def _format_of_numbers(name: str, texts: pl.Series, numbers: pl.Series) -> tuple[str, tuple[str, ...]]:
    is_date = texts.str.contains(r"^\s*(19|20)\d{6}\s*$").all()
    if is_date and not texts.str.strip_chars().str.to_date(DAYS, strict=False).has_nulls():
        return DAYS, (
            f"column {name!r}: numbers such as {texts[0]} are read as dates, year, month and day; "
            f"--time-format {NUMBER} reads them as plain numbers",
        )
    for unit, (least, most) in UNIX.items():
        if numbers.is_between(least, most).all():
            return NUMBER, (
                f"column {name!r}: numbers such as {texts[0]} are read as plain numbers of unknown unit; "
                f"--time-format {unit} reads them as {unit} since 1970",
            )
    return NUMBER, ()


def _clock(separator: str | None, minutes: str | None, second: Any, fraction: Any, half: Any) -> str:
    """The format of the time of day behind a date."""
    if minutes is None:
        return ""
    clock = ("%I" if half else "%H") + ":%M" + (":%S" if second else "") + (".%f" if fraction else "")
    return f"{separator}{clock}{half[:-2] + '%p' if half else ''}"


def _day_or_month_first(
    name: str, texts: pl.Series, day_first: str, month_first: str
) -> tuple[str, tuple[str, ...]]:
    """The only format that all rows have. Raises TableError if there is none, or if both are possible."""
    above = [(texts.str.extract(FIRST_TWO, place).cast(pl.Int64) > 12).arg_true() for place in (1, 2)]
    rows = [int(places[0]) if len(places) else None for places in above]
    if rows[0] is None and rows[1] is None:
        raise TableError(
            f"row {FIRST_ROW}, column {name!r}: {texts[0]!r} is a day and a month in either order, as all "
            f"{len(texts):,} rows are; --time-format {day_first} or --time-format {month_first} says which"
        )
    if rows[0] is not None and rows[1] is not None:
        day, month = (f"row {row + FIRST_ROW} ({texts[row]!r})" for row in rows if row is not None)
        raise TableError(
            f"column {name!r}: {day} has the day first, {month} has the month first; correct the rows of one "
            f"kind, and state the other by --time-format {day_first} or --time-format {month_first}"
        )
    chosen, order = (day_first, "day first") if rows[0] is not None else (month_first, "month first")
    row = rows[0] if rows[0] is not None else rows[1]
    assert row is not None
    return chosen, (
        f"column {name!r}: dates are read with the {order}, because of row {row + FIRST_ROW} "
        f"({texts[row]!r}); --time-format {chosen} states it",
    )


def _zone(name: str, texts: pl.Series) -> str | None:
    """`OFFSET` if all times have a zone, None if none has. Raises TableError for a mixture."""
    has_zone = texts.str.contains(ZONED)
    if has_zone.all():
        return OFFSET
    if not has_zone.any():
        return None
    one, other = int(has_zone.arg_true()[0]), int((~has_zone).arg_true()[0])
    raise TableError(
        f"column {name!r}: row {one + FIRST_ROW} ({texts[one]!r}) has a time zone, row {other + FIRST_ROW} "
        f"({texts[other]!r}) has none; {has_zone.sum():,} of {len(texts):,} rows have one. --time-zone UTC, "
        "or another such as Europe/Berlin, states the zone of the others"
    )


def _parse(texts: pl.Series, spec: TimeSpec, ids: pl.Series | None, *, hint: str) -> NDArray[np.float64]:
    """The times as seconds. Raises TableError for a row that does not have the format."""
    different = texts.unique(maintain_order=True)
    seconds: dict[str, float] = {}
    for text in different:
        try:
            seconds[text] = spec.seconds(text)
        except ValueError as error:
            row = int((texts == text).arg_true()[0])
            raise TableError(f"row {row + FIRST_ROW}, column {texts.name!r}: {error}{hint}") from None
    twice: set[str] = set()
    if spec.zone not in (None, OFFSET):
        twice = {text for text in seconds if spec.seconds(text, np.inf) != seconds[text]}
    if not twice:
        values: NDArray[np.float64] = texts.replace_strict(seconds, return_dtype=pl.Float64).to_numpy()
        return values
    return _by_the_row_before(texts, spec, ids, seconds, twice)


def _by_the_row_before(
    texts: pl.Series, spec: TimeSpec, ids: pl.Series | None, seconds: dict[str, float], twice: set[str]
) -> NDArray[np.float64]:
    """The same, if some times are of an hour that the clock shows twice: `twice`.

    The step before decides which one it is, so the rows of a sequence must be in the order of time, or in the
    opposite one. Raises TableError.
    """
    rows_of: dict[Any, list[int]] = {}
    for row in range(len(texts)):
        rows_of.setdefault(None if ids is None else ids[row], []).append(row)
    values = np.empty(len(texts))
    for rows in rows_of.values():
        before: float | None = None
        for row in _in_order(rows, texts, seconds, twice):
            text = texts[row]
            before = spec.seconds(text, before) if text in twice else seconds[text]
            values[row] = before
    return values


def _in_order(rows: list[int], texts: pl.Series, seconds: dict[str, float], twice: set[str]) -> list[int]:
    """The rows of a sequence from the earliest, as the times say that are of no such hour."""
    jumps = np.diff([seconds[texts[row]] for row in rows if texts[row] not in twice])
    goes_back, goes_on = bool((jumps < 0).any()), bool((jumps > 0).any())
    doubtful = [row for row in rows if texts[row] in twice]
    if goes_back and goes_on and doubtful:
        raise TableError(
            f"{listed(doubtful)}, column {texts.name!r}: the clock shows this hour twice, and the rows are "
            "in no order of time that says which one it is; sort the file, or write times with an offset"
        )
    return rows[::-1] if goes_back else rows
