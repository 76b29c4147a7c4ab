"""How a table is read: times by format and zone, and columns that are exactly the steps of the inputs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.manifest import Manifest, TableSpec, TimeSpec
from service.times import SCALES
from tests.service.codec.bodies import manifest

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()
INPUTS: tuple[dict[str, Any], ...] = (
    {"name": "numbers", "dims": [2], "features": ["heat", "since_previous"], "units": ["", "min"]},
    {"name": "mode", "tensor": "category_0", "kind": "token", "dtype": "int64",
     "vocabulary": ["<other>", "run"]},
)  # fmt: skip
COLUMNS: list[dict[str, Any]] = [
    {"name": "mode", "kind": "category", "input": "mode"},
    {"name": "heat", "kind": "number", "input": "numbers"},
    {"name": "since_previous", "kind": "number", "input": "numbers", "place": 1, "unit": "min",
     "derived": "since_previous"},
]  # fmt: skip
TABLE: dict[str, Any] = {"time": {"column": "at", "unit": "min"}, "columns": COLUMNS, "unused": ["state"],
                         "targets": ["state"]}  # fmt: skip


def time_of(**fields: Any) -> TimeSpec:
    return TimeSpec(column="at", **fields)


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, "2024-05-01T12:00"),
        ({}, " 2024-05-01 12:00:00.000 "),
        ({}, "2024-05-01T12:00:00.000000000"),
        ({"zone": "offset"}, "2024-05-01T12:00Z"),
        ({"zone": "offset"}, "2024-05-01T14:00:00+02:00"),
        ({"zone": "Europe/Berlin"}, "2024-05-01T14:00:00"),
        ({"zone": "Europe/Berlin"}, "2024-05-01T12:00:00Z"),
        ({"format": "%d/%m/%Y %H"}, "1/5/2024 12"),
        ({"format": "%Y%m%d%H"}, 2024050112),
        ({"format": "seconds"}, NOON),
        ({"format": "milliseconds"}, str(NOON * 1000)),
        ({"format": "number"}, NOON),
    ],
)
def test_a_time_is_read_by_its_format_and_zone(fields: dict[str, Any], value: str | float) -> None:
    assert time_of(**fields).seconds(value) == NOON


@pytest.mark.parametrize(
    ("fields", "value", "message"),
    [
        ({}, "01/05/2024", "'01/05/2024' is not a time \\(ISO 8601\\)"),
        ({}, 12.5, "12.5 is not a time"),
        ({}, 1712051231234, "1712051231234 is not a time"),
        ({}, "1712051231234", "'1712051231234' is not a time"),
        ({}, True, "True is not a time"),
        ({}, "2024-05-01T12:00Z", "has a zone, but the times of 'at' have none"),
        ({"zone": "offset"}, "2024-05-01T12:00", "has no zone, but the times of 'at' have one"),
        ({"zone": "Europe/Berlin"}, "2024-03-31T02:30", "does not exist in Europe/Berlin"),
        ({"format": "%d/%m/%Y"}, "05/13/2024", "is not a time \\(written as %d/%m/%Y\\)"),
        ({"format": "number"}, "noon", "'noon' is not a time \\(a number\\)"),
        ({"format": "seconds"}, float("inf"), "inf is not a time \\(a number of seconds\\)"),
        ({"format": "number"}, True, "True is not a time"),
        ({"format": "seconds"}, 10**400, "is not a time \\(a number of seconds\\)"),
    ],
)
def test_a_value_of_another_format_is_refused(
    fields: dict[str, Any], value: str | float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        time_of(**fields).seconds(value)


def test_the_hour_that_a_clock_shows_twice_is_told_by_the_step_before() -> None:
    clock = time_of(zone="Europe/Berlin", unit="h")
    moments: list[float] = []
    for text in ("2024-10-27T01:30", "2024-10-27T02:30", "2024-10-27T02:30", "2024-10-27T03:30"):
        moments.append(clock.seconds(text, moments[-1] if moments else None))
    assert [clock.since(before, now) for before, now in zip([None, *moments], moments, strict=False)] == [
        0, 1, 1, 1
    ]  # fmt: skip


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), st.integers(-14, 14))
def test_a_time_with_an_offset_is_the_same_moment_everywhere(moment: datetime, hours: int) -> None:
    clock = time_of(zone="offset")
    here = moment.isoformat() + f"{'-' if hours < 0 else '+'}{abs(hours):02}:00"
    assert (
        clock.seconds(here) == time_of().seconds(moment.isoformat()) - timedelta(hours=hours).total_seconds()
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "day first"}, "expected iso8601, number, seconds, milliseconds, or a format of strptime"),
        ({"zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus' on this machine"),
        *[({"format": name, "zone": "offset"}, f"format '{name}' have no zone") for name in sorted(SCALES)],
    ],
)
def test_a_format_or_zone_that_does_not_exist_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        time_of(**fields)


def test_a_manifest_has_the_columns_of_its_inputs_and_old_ones_have_no_table() -> None:
    table = manifest(*INPUTS, table=TABLE).table
    assert table is not None
    assert (table.by_name["heat"].place, table.by_name["mode"].input) == (0, "mode")
    assert manifest(*INPUTS).table is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"columns": COLUMNS[:2]}, "2 columns are not the 3 places of the inputs"),
        ({"columns": [*COLUMNS[:2], COLUMNS[2] | {"place": 0}]}, "3 columns are not the 3 places"),
        (
            {"columns": [COLUMNS[0], COLUMNS[1] | {"place": 1}, COLUMNS[2] | {"place": 0}]},
            "column 'heat' is 'since_previous' in input 'numbers'",
        ),
        (
            {"columns": [COLUMNS[0] | {"kind": "number"}, *COLUMNS[1:]]},
            "'mode' is a number, but input 'mode'",
        ),
        ({"unused": ["heat", "state"]}, "two columns are called heat"),
        ({"targets": ["warmth"]}, "the target 'warmth' is no column"),
        ({"horizons": [1, 4], "horizon_names": ["+1 step"]}, "1 names for 2 horizons"),
        ({"time": None}, "a derived column needs a time column"),
    ],
)
def test_a_table_that_does_not_fit_its_inputs_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        manifest(*INPUTS, table=TABLE | changed)


def test_a_table_survives_the_file() -> None:
    written = manifest(*INPUTS, table=TABLE)
    assert Manifest.model_validate_json(written.model_dump_json()) == written
    assert isinstance(written.table, TableSpec)
