"""Rows of the same id and time, and times that go back: noted, and read as the option says."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Table
from training.data.rows import Rows, in_order
from training.data.table import fingerprint, load

HOURS = [f"2024-03-01T{hour:02}:00" for hour in range(24)]


def rows_of(frame: pl.DataFrame, **fields: Any) -> Rows:
    table = Table(path="", sha256="", targets=("y",), time_column="t", **fields)
    return in_order(frame, table)


def frame_of(times: list[Any], **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {"t": times, "y": [float(place) for place in range(len(times))]} | columns, strict=False
    )


def flow() -> pl.DataFrame:
    """A day of which the second half follows once more."""
    values = [round(5 + hour % 7 / 3, 2) for hour in range(24)]
    return pl.DataFrame({"t": HOURS + HOURS[12:], "y": values + values[12:]})


def test_doubled_rows_are_noted_and_can_be_dropped() -> None:
    """A file whose second half was there twice was read as 36 hours, `since_previous 0 to 1 h`."""
    kept = rows_of(flow())
    assert len(kept.order) == 36
    doubled, back = kept.notes
    assert doubled == (
        "column 't': rows 26, 27, 28 and 9 more repeat earlier rows with the same time and values (row 26 "
        "that of row 14); --duplicates drop reads each once"
    )
    assert "the times go back in row 26 (2024-03-01T12:00 after 2024-03-01T23:00)" in back
    dropped = rows_of(flow(), duplicates="drop")
    assert dropped.order.tolist() == list(range(24))
    assert dropped.notes[0].endswith("; read once")


def test_rows_of_the_same_time_with_other_values_are_noted() -> None:
    frame = frame_of([*range(20), 7], id=["a"] * 21)
    kept = rows_of(frame, id_column="id")
    assert kept.notes == (
        "column 't': rows 9 and 22 have the same id and time as another row, and other values; each is a "
        "step of its own, --duplicates last reads the last of each",
    )
    assert kept.order.tolist() == [*range(8), 20, *range(8, 20)]
    last = rows_of(frame, id_column="id", duplicates="last")
    assert last.order.tolist() == [*range(7), 20, *range(8, 20)]
    assert last.notes[0].endswith("; the last of each is read")
    assert rows_of(frame_of([*range(20), 7], id=["a"] * 20 + ["b"]), id_column="id").notes == ()


def test_the_hour_that_a_clock_shows_twice_is_noted_and_settled_by_the_zone() -> None:
    night = [f"2024-10-27T0{hour}:{minute:02}" for hour in (0, 1, 2, 2, 3, 4) for minute in (0, 30)]
    kept = rows_of(frame_of(night))
    assert "rows 6, 7, 8 and 1 more have the same time as another row" in kept.notes[0]
    assert "an hour that comes twice where a clock is put back; --time-zone Europe/Berlin" in kept.notes[0]
    settled = rows_of(frame_of(night), time_zone="Europe/Berlin")
    assert settled.notes == ()
    assert settled.times is not None
    assert set(np.diff(settled.times.values)) == {1800}
    monday = [text.replace("-27T", "-28T") for text in night]
    assert "comes twice" not in rows_of(frame_of(monday)).notes[0]


@pytest.mark.parametrize("is_interleaved", [True, False])
def test_a_forgotten_id_column_is_proposed(is_interleaved: bool) -> None:
    places = [(time, site) for time in range(12) for site in range(4)]
    places = places if is_interleaved else sorted(places, key=lambda place: place[1])
    frame = frame_of([time for time, _ in places], site=[f"s{site}" for _, site in places])
    [note] = rows_of(frame).notes
    assert "have the same time as another row, and other values: 48 of 48; --id-column site makes" in note
    assert rows_of(frame, id_column="site").notes == ()


def test_sequences_one_after_another_without_an_id_column_are_noted() -> None:
    frame = frame_of([*range(50, 62), *range(12), *range(20, 32)], site=["a"] * 12 + ["b"] * 12 + ["c"] * 12)
    [note] = rows_of(frame).notes
    assert "the times go back in row 14 (0 after 61)" in note
    assert note.endswith("sorted into one sequence; --id-column site makes them 3 sequences")
    [note] = rows_of(frame.drop("site")).notes
    assert note.endswith("; several sequences need --id-column")


def test_a_file_with_the_newest_row_first_is_not_noted() -> None:
    assert rows_of(frame_of(list(range(20, 0, -1)))).notes == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=30))
def test_every_mode_reads_what_it_says(rows: list[tuple[int, int, int]]) -> None:
    frame = pl.DataFrame(rows, schema=["id", "t", "y"], orient="row")
    stamps = [row[:2] for row in rows]
    read = {
        mode: [rows[place] for place in rows_of(frame, id_column="id", duplicates=mode).order]
        for mode in ("keep", "drop", "last")
    }
    assert sorted(read["keep"]) == sorted(rows)
    assert sorted(read["drop"]) == sorted(set(rows))
    assert read["last"] == sorted(dict(zip(stamps, rows, strict=True)).values(), key=lambda row: row[:2])
    for order in read.values():
        assert [row[:2] for row in order] == sorted(row[:2] for row in order)


def test_dropped_rows_leave_no_place_in_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = pl.DataFrame(
        {"t": [n for n in range(60) for _ in "ab"], "y": [n % 7 / 2 for n in range(60) for _ in "ab"]}
    )
    frame.write_csv(path)
    table = Table(
        path=str(path), sha256=fingerprint(path), targets=("y",), time_column="t", duplicates="drop"
    )
    data = load(table)
    assert data.validation is not None
    parts = (data.train, data.validation, data.test)
    assert [[len(one) for one in part.sequences] for part in parts] == [[36], [12], [12]]
    assert data.inputs[0].features == ("y",), "the steps are equally spaced"
