"""Features of the calendar, by clocks that are put forward and back."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.calendar import CalendarFeature, CalendarPart, calendar, features_of, phase
from service.manifest import TimeSpec
from tests.service.codec.bodies import manifest

ALL: tuple[CalendarFeature, ...] = get_args(CalendarFeature)
INPUT: dict[str, Any] = {"name": "numbers", "dims": [2], "features": ["heat", "hour_sin"]}


def spec(**fields: Any) -> TimeSpec:
    return TimeSpec(column="at", **fields)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("part", "text", "expected"),
    [
        ("minute", "2024-05-01T10:15:00", 1 / 4),
        ("hour", "2024-05-01T18:00:00", 3 / 4),
        ("hour", "2024-05-01T06:00:00.000001", 1 / 4 + 1e-6 / 86400),
        ("weekday", "2024-05-06T23:59:00", 0),
        ("weekday", "2024-05-05T00:00:00", 6 / 7),
        ("day_of_month", "2024-02-29T12:00:00", 28 / 29),
        ("month", "2024-12-31T12:00:00", 11 / 12),
        ("day_of_year", "2024-12-31T12:00:00", 365 / 366),
        ("day_of_year", "2023-12-31T12:00:00", 364 / 365),
    ],
)
def test_a_part_of_a_date_is_a_share_of_its_cycle(part: str, text: str, expected: float) -> None:
    assert phase(part, datetime.fromisoformat(text)) == pytest.approx(expected, abs=1e-15)


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.sampled_from(get_args(CalendarPart)))
def test_the_two_features_of_a_part_are_a_point_of_a_circle(moment: datetime, part: CalendarPart) -> None:
    sine, cosine = features_of(part)
    moment = moment.replace(microsecond=0)  # float64 holds no microseconds of the year 9999
    values = calendar(spec(), [(sine, 0), (cosine, 0)], at(moment.isoformat()))
    assert math.hypot(*values) == pytest.approx(1)
    assert math.atan2(*values) % (2 * math.pi) == pytest.approx(2 * math.pi * phase(part, moment), abs=1e-8)


@pytest.mark.parametrize(
    ("fields", "moment", "shown"),
    [
        ({}, "2024-07-01T12:00", "2024-07-01T12:00"),
        ({"zone": "offset"}, "2024-07-01T12:00", "2024-07-01T12:00"),
        ({"format": "seconds"}, "2024-07-01T12:00", "2024-07-01T12:00"),
        ({"zone": "Europe/Berlin"}, "2024-07-01T12:00", "2024-07-01T14:00"),
        ({"zone": "Europe/Berlin"}, "2024-01-01T12:00", "2024-01-01T13:00"),
    ],
)
def test_the_clock_is_that_of_the_zone(fields: dict[str, Any], moment: str, shown: str) -> None:
    assert spec(**fields).clock(at(moment)) == datetime.fromisoformat(shown)


def test_steps_of_whole_days_keep_the_time_of_day_and_shorter_ones_do_not_where_a_clock_is_put_back() -> None:
    eve = at("2024-10-26T10:00")  # noon in Berlin, a day before the clock is put back
    days = spec(zone="Europe/Berlin", unit="d", spacing=1.0)
    hours = spec(zone="Europe/Berlin", unit="h", spacing=8.0)
    assert [days.clock(eve, ahead).hour for ahead in (0, 1, 30)] == [12, 12, 12]
    assert [hours.clock(eve, ahead).hour for ahead in (0, 1, 2, 3)] == [12, 20, 3, 11]


@given(st.integers(-14, 14), st.sampled_from(ALL), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_a_feature_some_steps_ahead_is_that_of_the_later_time(
    ahead: int, feature: CalendarFeature, moment: datetime
) -> None:
    clock = spec(unit="h", spacing=6.0)
    now = at(moment.isoformat())
    later = now + timedelta(hours=6 * ahead).total_seconds()
    assert calendar(clock, [(feature, ahead)], now) == calendar(clock, [(feature, 0)], later)


def test_a_copy_with_another_spacing_has_the_clock_of_that_spacing() -> None:
    """What a spec has cached before the copy is not the copy's."""
    spec = TimeSpec(column="at")
    assert spec.clock(0, 1) == datetime(1970, 1, 1)
    assert spec.model_copy(update={"unit": "h", "spacing": 2}).clock(0, 1) == datetime(1970, 1, 1, 2)


@pytest.mark.parametrize("seconds", [1e300, -1e12, at("9999-12-31T23:59")])
def test_a_time_that_no_clock_shows_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="outside the years that clocks show"):
        calendar(spec(zone="Europe/Berlin"), [("hour_sin", 0)], seconds)


def test_plain_numbers_have_no_calendar() -> None:
    columns = [
        {"name": "heat", "kind": "number", "input": "numbers"},
        {"name": "hour_sin", "kind": "number", "input": "numbers", "place": 1, "derived": "hour_sin"},
    ]
    table = {"time": {"column": "at", "format": "number"}, "columns": columns}
    with pytest.raises(ValidationError, match="'hour_sin' needs dates, but times are plain numbers"):
        manifest(INPUT, table=table)
    assert manifest(INPUT, table=table | {"time": {"column": "at"}}).table is not None
