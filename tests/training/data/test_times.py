"""The column of times: formats, zones, and what is refused or noted instead of guessed."""

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.file import TableError
from training.data.times import times

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def series(values: list[Any], name: str = "x", **fields: Any) -> pl.Series:
    return pl.Series(name, values, **fields)


def distances(values: list[Any], **fields: Any) -> list[float]:
    found: list[float] = np.diff(times(series(values), **fields).values).tolist()
    return found


MOMENTS = st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(st.lists(MOMENTS, min_size=1, max_size=10), st.sampled_from(["T", " "]))
def test_iso_times_and_datetimes_are_the_same_seconds(moments: list[datetime], separator: str) -> None:
    by_text = times(series([moment.isoformat(separator) for moment in moments]))
    by_type = times(series(moments, dtype=pl.Datetime("ns")))
    assert by_text.has_unit and by_type.has_unit
    np.testing.assert_array_equal(by_text.values, by_type.values)
    expected = [(moment - moments[0]).total_seconds() for moment in moments]
    np.testing.assert_allclose(by_type.values - by_type.values[0], expected)


@given(st.lists(NUMBERS, min_size=1, max_size=10))
def test_plain_numbers_are_times_of_unknown_unit(values: list[float]) -> None:
    for column in (series(values), series([repr(value) for value in values])):
        assert times(column).has_unit is False
        assert times(column).values.tolist() == values


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([date(2024, 1, 1), date(2024, 1, 3)], 2 * 86400),
        ([time(1), time(2, 30)], 5400),
        ([timedelta(minutes=1), timedelta(minutes=3)], 120),
        (["2024-01-01", "2024-01-03"], 2 * 86400),
    ],
    ids=["date", "time of day", "duration", "date text"],
)
def test_every_type_of_time_is_converted_to_seconds(values: list[Any], seconds: float) -> None:
    first, last = times(series(values)).values
    assert last - first == seconds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-01-01T00:00:00", None], "row 3, column 'x': the time is missing"),
        (["2024-01-01T00:00:00", "tomorrow"], "row 3, column 'x': 'tomorrow' is not a time"),
        ([1.0, float("inf")], "row 3, column 'x': inf is not a time"),
        ([datetime(2024, 1, 1), None], "row 3, column 'x': the time is missing"),
        (["soon", "later"], "row 2, column 'x': 'soon' is not a time"),
    ],
)
def test_the_error_for_a_bad_time_names_its_row(values: list[Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        times(series(values))


def dates(day: str, months: range) -> list[str]:
    return [day.format(month) for month in months]


def test_dates_with_day_and_month_in_either_order_are_refused() -> None:
    """They were read with the day first, without a word: order and distances were others."""
    values = [f"04/{day:02}/2024" for day in range(3, 13)] + [f"05/{day:02}/2024" for day in range(3, 13)]
    with pytest.raises(
        TableError, match=r"row 2, column 'x': '04/03/2024' is a day and a month in either"
    ) as e:
        times(series(values))
    assert "--time-format %d/%m/%Y or --time-format %m/%d/%Y says which" in str(e.value)
    assert set(distances(values[:10], written="%m/%d/%Y")) == {86400}
    assert set(distances(values[:10], written="%d/%m/%Y")) == {86400 * 30, 86400 * 31}


@pytest.mark.parametrize(
    ("values", "written", "seconds"),
    [
        (["12/04/2024", "13/04/2024"], "%d/%m/%Y", 86400),
        (["04/12/2024", "04/13/2024"], "%m/%d/%Y", 86400),
        (["30.4.2024 9:05", "1.5.2024 9:10"], "%d.%m.%Y %H:%M", 86700),
        (["4/13/2024 11:59:30 PM", "4/14/2024 12:00:00 AM"], "%m/%d/%Y %I:%M:%S %p", 30),
        (["2024/04/30", "2024/05/01"], "%Y/%m/%d", 86400),
        (["2024-4-30", "2024-5-1"], "%Y-%m-%d", 86400),
        (["2024.04.30T23:59:59.5", "2024.05.01T00:00:00.0"], "%Y.%m.%dT%H:%M:%S.%f", 0.5),
    ],
)
def test_a_format_is_concluded_if_only_one_is_possible(
    values: list[str], written: str, seconds: float
) -> None:
    by_values = times(series(values))
    assert (by_values.spec.format, by_values.has_unit) == (written, True)
    assert np.diff(by_values.values).tolist() == [seconds]
    assert all(f"--time-format {written} states it" in note for note in by_values.notes)
    assert len(by_values.notes) == (not values[0].startswith("2024"))
    assert distances(values, written=written) == [seconds]


def test_contradictory_dates_are_refused_with_both_rows() -> None:
    with pytest.raises(TableError, match=r"row 4 .'13/04/2024'. has the day first, row 3 .'04/14/2024'. has"):
        times(series(["01/04/2024", "04/14/2024", "13/04/2024"]))
    with pytest.raises(TableError, match=r"row 3, .*: '04/14/2024' is not a time \(written as %d/%m/%Y\)$"):
        times(series(["01/04/2024", "04/14/2024", "13/04/2024"]), written="%d/%m/%Y")


def test_a_year_of_two_digits_is_refused() -> None:
    with pytest.raises(TableError, match=r"order of day, month and year of '01/02/24' is not .* %d/%m/%y"):
        times(series(["01/02/24", "02/02/24"]))


def test_whole_numbers_that_are_all_dates_are_dates() -> None:
    """20240430 and 20240501 were 71 apart."""
    values = [20240430, 20240501, 20240502]
    for column in (series(values), series(list(map(str, values))), series(list(map(float, values)))):
        read = times(column)
        assert (read.spec.format, np.diff(read.values).tolist()) == ("%Y%m%d", [86400, 86400])
        assert read.notes == (
            "column 'x': numbers such as 20240430 are read as dates, year, month and day; --time-format "
            "number reads them as plain numbers",
        )
    assert times(series([20240430, 20240431])).spec.format == "number"
    assert distances(values, written="number") == [71, 1]


@pytest.mark.parametrize(("unit", "scale"), [("seconds", 1), ("milliseconds", 1000)])
def test_unix_times_are_noted(unit: str, scale: int) -> None:
    values = [1714521600 * scale, 1714521660 * scale]
    read = times(series(values))
    assert (read.has_unit, np.diff(read.values).tolist()) == (False, [60 * scale])
    [note] = read.notes
    assert f"--time-format {unit} reads them as {unit} since 1970" in note
    assert distances(values, written=unit) == [60]


def test_some_rows_with_a_zone_and_some_without_are_refused() -> None:
    values = [f"2024-04-20T{hour:02}:00:00{'Z' * (hour == 9)}" for hour in range(24)]
    with pytest.raises(
        TableError, match=r"row 11 \('2024-04-20T09:00:00Z'\) has a time zone, row 2 .* has none"
    ) as e:
        times(series(values))
    assert "1 of 24 rows have one. --time-zone UTC" in str(e.value)
    assert set(distances(values, zone="UTC")) == {3600}


def test_times_with_zones_are_moments() -> None:
    read = times(series(["2024-04-20T10:00+02:00", "2024-04-20T09:00Z"]))
    assert (read.spec.zone, np.diff(read.values).tolist()) == ("offset", [3600])
    assert times(series(["2024-04-20 10", "2024-04-21"])).spec.zone is None
    assert (
        times(series(["20/04/2024 +0200", "20/04/2024 +0100"]), written="%d/%m/%Y %z").spec.zone == "offset"
    )


BERLIN = ZoneInfo("Europe/Berlin")


# Not from within the second showing of the hour: such a beginning is read as the first.
@given(st.integers(0, 400).filter(lambda start: not 324 <= start < 336), st.integers(1, 12))
def test_local_times_of_a_zone_are_moments_in_the_hour_that_comes_twice_too(start: int, every: int) -> None:
    begin = datetime(2024, 10, 26, tzinfo=BERLIN).timestamp() + 300 * start
    moments = [begin + 300 * every * step for step in range(300)]
    local = [datetime.fromtimestamp(moment, BERLIN).replace(tzinfo=None).isoformat() for moment in moments]
    ids = series(["a", "b"] * 300)
    doubled = [text for text in local for _ in "ab"]
    assert times(series(local), zone="Europe/Berlin").values.tolist()[1:] == moments[1:]
    both = times(series(doubled), zone="Europe/Berlin", ids=ids).values
    assert both[2::2].tolist() == both[3::2].tolist() == moments[1:]
    typed = series([datetime.fromisoformat(text) for text in doubled])  # as in Parquet
    assert times(typed, zone="Europe/Berlin", ids=ids).values.tolist() == both.tolist()
    newest_first = times(series(local[::-1]), zone="Europe/Berlin").values
    assert newest_first.tolist()[:-1] == moments[:0:-1]


def test_the_hour_that_comes_twice_is_refused_in_rows_without_an_order() -> None:
    local = ["2024-10-27T00:30", "2024-10-27T02:30", "2024-10-27T04:30", "2024-10-27T03:30"]
    with pytest.raises(
        TableError, match=r"^row 3, column 'x': the clock shows this hour twice.* sort the file"
    ):
        times(series(local), zone="Europe/Berlin")
    assert len(times(series([*local[:1], *local[2:]]), zone="Europe/Berlin").values) == 3


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        (["2024-03-31T02:30"], {"zone": "Europe/Berlin"}, "row 2, .* does not exist in Europe/Berlin"),
        (["2024-03-31"], {"zone": "Mars"}, "--time-format and --time-zone: there is no time zone 'Mars'"),
        (
            ["2024-03-31"],
            {"written": "day first"},
            "--time-format: time format 'day first': expected",
        ),
        (["noon"], {"written": "number"}, r"row 2, column 'x': 'noon' is not a time \(a number\)$"),
        (
            ["4th of May"],
            {},
            "is not a time .ISO 8601.; --time-format states how times are written",
        ),
        ([datetime(2024, 1, 1)], {"written": "%Y"}, "column 'x' holds Datetime.*, not texts"),
        ([5, 6], {"zone": "UTC"}, "times of the format 'number' have no zone"),
    ],
)
def test_what_cannot_be_read_is_refused(values: list[Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        times(series(values), **fields)


def test_datetimes_of_parquet_are_read_in_their_zone_or_the_stated_one() -> None:
    noon = datetime(2024, 5, 1, 12)
    aware = times(series([noon]).dt.replace_time_zone("UTC"))
    assert (aware.spec.zone, aware.values[0]) == ("offset", noon.replace(tzinfo=ZoneInfo("UTC")).timestamp())
    local = times(series([noon]), zone="Europe/Berlin")
    assert (local.spec.zone, local.values[0]) == ("Europe/Berlin", noon.replace(tzinfo=BERLIN).timestamp())
