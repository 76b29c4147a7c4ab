"""The times of a column → seconds, all rows at once, as `TimeSpec.seconds` gives them one by one.

    2026-03-29T01:59   1774745940.0
    2026-03-29T02:30   NaN: the clock of Europe/Berlin skips that hour
    2026-10-25T02:30   NaN: it shows it twice, and the step before decides

It knows polars and the description of a time column; it knows nothing of sequences. Times of usual forms, if
the first has one, are read by polars, where a regular expression makes sure that Python reads them alike;
others one by one.
"""

import datetime
import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from service.sequence import Array
from service.times import ISO, OFFSET, TimeSpec

DAY_S = 86400
FIRST_S, LAST_S = -8_500_000_000, 8_900_000_000  # the years 1701 to 2251: float64 holds their microseconds
_ZONE = r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_EXACT = {"%Y": r"[12]\d{3}", "%m": r"(?:0[1-9]|1[0-2])", "%d": r"(?:0[1-9]|[12]\d|3[01])",
          "%H": r"(?:[01]\d|2[0-3])", "%M": r"[0-5]\d", "%S": r"[0-5]\d"}  # fmt: skip
_SHORT = {"%m": r"(?:0?[1-9]|1[0-2])", "%d": r"(?:0?[1-9]|[12]\d|3[01])", "%H": r"(?:[01]?\d|2[0-3])"}


def seconds_of(column: pl.Series, spec: TimeSpec) -> Array:
    """[rows] float64. NaN: the row has no time, or only the step before tells which one it is."""
    seconds = _at_once(column, spec)
    if spec.zone in (None, OFFSET):
        rest = np.flatnonzero(np.isnan(seconds))
        for place, value in zip(rest, times_as_written(column.gather(rest), spec), strict=True):
            seconds[place] = _alone(value, spec)
    return seconds


def times_as_written(column: pl.Series, spec: TimeSpec) -> list[Any]:
    """The times as `/predict` takes them: numbers, or texts in the format of the table."""
    if column.dtype not in (pl.Date, pl.Datetime):
        return column.to_list()
    return [None if moment is None else _written(moment, spec.format) for moment in column.to_list()]


def _written(moment: datetime.date, form: str) -> str:
    """A date, perhaps with a time, in a format; as ISO 8601, which is refused then, if that loses a part."""
    if form != ISO and "%" in form:
        text = moment.strftime(form)
        whole = datetime.datetime.strptime(text, form)
        if (whole if isinstance(moment, datetime.datetime) else whole.date()) == moment:
            return text
    return moment.isoformat()


def _alone(value: Any, spec: TimeSpec) -> float:
    try:
        return spec.seconds(value)
    except ValueError:
        return np.nan


def _at_once(column: pl.Series, spec: TimeSpec) -> Array:
    """The seconds of the rows of usual forms; NaN for all others."""
    if spec.scale is not None:
        return _numbers(column) * spec.scale
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        first = str(column.drop_nulls().first())
        for pattern, form, has_zone in _forms(spec.format):
            if re.search(pattern, first):
                texts = column.set(~column.str.contains(pattern), None)
                return _moments(texts.str.to_datetime(form, strict=False, time_unit="us"), has_zone, spec)
    elif isinstance(column.dtype, pl.Datetime) and spec.format == ISO:
        return _moments(column, column.dtype.time_zone is not None, spec)
    elif column.dtype == pl.Date and spec.format == ISO:
        return _moments(column.cast(pl.Datetime("us")), False, spec)
    return np.full(len(column), np.nan)


def _numbers(column: pl.Series) -> Array:
    if column.dtype == pl.String:
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    if not column.dtype.is_numeric():
        return np.full(len(column), np.nan)
    numbers = column.cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _forms(form: str) -> Iterator[tuple[str, str, bool]]:
    """Regular expressions, what polars calls the texts that match, and whether these have a zone."""
    if form == ISO:
        times = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f")
        yield f"^{_expression('%Y-%m-%d', _EXACT)}$", "%Y-%m-%d", False
        for (zone, has_zone), time, between in product((("", False), ("%#z", True)), times, "T "):
            written = f"%Y-%m-%d{between}{time}{zone}"
            yield f"^{_expression(written, _EXACT)}$", written, has_zone
        return
    parts = re.findall("%.", form)
    if {"%Y", "%m", "%d"} <= set(parts) <= _EXACT.keys() and len(set(parts)) == len(parts):
        are_apart = not re.search("%.%", form)
        yield f"^{_expression(form, _EXACT | _SHORT if are_apart else _EXACT)}$", form, False


def _expression(form: str, digits: dict[str, str]) -> str:
    known = digits | {"%.f": r"\.\d{1,6}", "%#z": _ZONE}
    parts = re.findall(r"%[.#]?.|[^%]+", form)
    return "".join([known[part] if part.startswith("%") else re.escape(part) for part in parts])


def _moments(column: pl.Series, has_zone: bool, spec: TimeSpec) -> Array:
    """The seconds since 1970: in UTC of dates with a zone, by their clock of others."""
    zone = column.dtype.time_zone if isinstance(column.dtype, pl.Datetime) else None
    micros = column.cast(pl.Datetime("us", zone)).to_physical().cast(pl.Float64)
    seconds: Array = micros.to_numpy() / 1e6
    seconds = np.where((seconds > FIRST_S) & (seconds < LAST_S), seconds, np.nan)
    if has_zone:
        return seconds if spec.zone is not None else np.full(len(seconds), np.nan)
    if spec.zone is None:
        return seconds
    return np.full(len(seconds), np.nan) if spec.zone == OFFSET else _in_utc(seconds, ZoneInfo(spec.zone))


def _in_utc(seconds: Array, zone: ZoneInfo) -> Array:
    """Seconds in UTC of seconds by the clock of a zone; NaN on the days on which the clock is changed."""
    days = np.floor_divide(seconds, DAY_S)
    different, places = np.unique(days[~np.isnan(days)], return_inverse=True)
    seconds[~np.isnan(days)] -= np.array([_offset(int(day), zone) for day in different])[places]
    return seconds


def _offset(day: int, zone: ZoneInfo) -> float:
    """How far the clock of a zone is ahead of UTC on a day, in seconds; NaN if that changes.

    It is looked at every six hours from before the day to after it: no clock was changed there and back
    within so short a time.
    """
    midnight = datetime.datetime(1970, 1, 1, tzinfo=zone) + datetime.timedelta(days=day)
    moments = (midnight + datetime.timedelta(hours=hour) for hour in range(-6, 31, 6))
    offsets = {moment.utcoffset() for moment in moments}
    (first, *others) = offsets
    return np.nan if others or first is None else first.total_seconds()
