"""The summary of a table: one line for each column, with its role and its values."""

from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from training.config import Table
from training.data.columns import typed
from training.data.rows import Spacing, in_order
from training.data.summary import MOST_CATEGORIES, ColumnSummary, summarise
from training.data.table import fingerprint, interpret


def summary_of(frame: pl.DataFrame, since: Spacing | None = None, **fields: Any) -> dict[str, ColumnSummary]:
    table = Table(**{"path": "", "sha256": "", "targets": ("y",)} | fields)
    excluded = {table.id_column, table.time_column, *table.ignore}
    columns = {name: typed(frame[name]) for name in frame.columns if name not in excluded}
    rows = in_order(frame, table)
    return {one.name: one for one in summarise(frame, table, columns, rows, since)}


FRAME = pl.DataFrame(
    {
        "id": ["b", "a", "b", "b"],
        "when": ["2024-01-02", "2024-01-01", "2024-01-03", "2024-01-05"],
        "y": ["1", "2000.5", None, "-3"],
        "sky": ["blue", "grey", None, None],
        "note": ["x", "y", "z", "x"],
    }
)


def test_every_column_has_a_role_and_its_values() -> None:
    summaries = summary_of(FRAME, id_column="id", time_column="when", ignore=("note",))
    assert list(summaries) == FRAME.columns
    assert summaries["id"][1:] == ("sequence", 0, "2 different")
    assert summaries["when"][1:] == ("time, ISO 8601", 0, "2024-01-01 to 2024-01-05")
    assert summaries["y"][1:] == ("target, number", 1, "-3 to 2,000.5")
    assert summaries["sky"][1:] == ("category", 2, "blue, grey")
    assert summaries["note"][1:] == ("ignored", 0, "")


def test_numeric_times_have_an_unknown_unit_and_their_own_order() -> None:
    frame = pl.DataFrame({"day": ["9", "10", "2"], "y": ["1", "2", "3"]})
    assert summary_of(frame, time_column="day")["day"][1:] == ("time, unit unknown", 0, "2 to 10")


@pytest.mark.parametrize(
    ("value", "fields", "role"),
    [
        ("2024-05-01T10:00Z", {}, "time, ISO 8601 with zones"),
        ("2024-05-01T10:00", {"time_zone": "UTC"}, "time, ISO 8601, zone UTC"),
        ("1/5/2024", {"time_format": "%d/%m/%Y"}, "time, written as %d/%m/%Y"),
        ("1714521600", {"time_format": "seconds"}, "time, a number of seconds"),
    ],
)
def test_the_format_and_the_zone_of_times_are_shown(value: str, fields: dict[str, Any], role: str) -> None:
    frame = pl.DataFrame({"when": [value], "y": ["1"]})
    assert summary_of(frame, time_column="when", **fields)["when"].role == role


def test_an_empty_column_has_no_values() -> None:
    frame = pl.DataFrame({"y": ["1", "2"], "none": pl.Series([None, None], dtype=pl.String)})
    assert summary_of(frame)["none"][1:] == ("number", 2, "none")


@pytest.mark.parametrize("count", [MOST_CATEGORIES, MOST_CATEGORIES + 1])
def test_many_categories_are_abbreviated(count: int) -> None:
    names = [f"k{number}" for number in range(count)]
    shown = summary_of(pl.DataFrame({"y": ["1"] * count, "k": names}))["k"].values
    assert shown.startswith("k0, k1, k2, k3")
    assert shown.endswith(f"… ({count})") == (count > MOST_CATEGORIES)


@pytest.mark.parametrize(("unit", "values"), [("min", "0 to 1,500 min"), ("", "0 to 1,500")])
def test_the_time_since_the_previous_step_is_the_last_line(unit: Literal["min", ""], values: str) -> None:
    since = Spacing(pl.Series([0.0, 1500.0, 3.5, 0.0]).to_numpy(), unit, 3.5, is_equal=False)
    summaries = summary_of(FRAME, since, id_column="id", time_column="when")
    assert list(summaries)[-1] == "since_previous"
    assert summaries["since_previous"][1:] == ("number, from the time", 0, values)


def test_a_table_is_summarised_with_the_types_that_its_data_set_has(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,k,y\n" + "".join(f"{n % 5}.5,{'ab'[n % 2]},{n % 7}.5\n" for n in range(60)))
    table = Table(path=str(path), sha256=fingerprint(path), targets=("y",))
    data, summaries, notes = interpret(table)
    assert {one.name: one.role for one in summaries} == {
        "x": "number", "k": "category", "y": "target, number"
    }  # fmt: skip
    assert [input_.kind for input_ in data.inputs] == ["numeric", "token"]
    assert notes == []
