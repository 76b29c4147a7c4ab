"""A row of the table is the step that the description makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.manifest import TableSpec
from training.config import Table
from training.data.dataset import DataSet
from training.data.description import TABLE_FILE, check_kept, keep
from training.data.file import TableError
from training.data.rows import SINCE
from training.data.table import fingerprint, load


def loaded(path: Path, rows: list[dict[str, Any]], *targets: str, **fields: Any) -> tuple[DataSet, TableSpec]:
    pl.DataFrame(rows).write_csv(path)
    data = load(Table(path=str(path), sha256=fingerprint(path), targets=targets, **fields))
    assert data.table is not None
    return data, data.table


def step(
    data: DataSet, table: TableSpec, row: dict[str, Any], before: float | None
) -> tuple[list[float], float]:
    """The columns of a sequence's step, made of a row by the description alone; and the time of the row."""
    assert table.time is not None
    now = table.time.seconds(row[table.time.column], before)
    by_place: dict[tuple[str, int], float] = {}
    for column in table.columns:
        if column.derived:
            value = table.time.since(before, now)
        elif column.kind == "number":
            value = np.nan if row[column.name] is None else row[column.name]
        else:
            [input_] = [one for one in data.inputs if one.name == column.input]
            ids = dict(zip(input_.vocabulary, range(99), strict=False))
            missing, unknown = input_.missing, input_.unknown
            assert missing is not None and unknown is not None
            value = missing if row[column.name] is None else ids.get(row[column.name], unknown)
        by_place[column.input, column.place] = value
    places = [(input_.name, place) for input_ in data.inputs for place in range(input_.columns)]
    return [by_place[place] for place in places], now


def test_the_description_turns_the_rows_into_the_steps_of_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"mode": str(rng.choice(["run", "rest"])), "x": [1.5, None][number % 7 == 0],
         "at": f"2024-05-01T{number // 4 % 24:02}:{rng.integers(30):02}", "heat": float(number),
         "site": f"s{number // 40}", "memo": "-"}
        for number in range(160)
    ]  # fmt: skip
    data, table = loaded(
        tmp_path / "t.csv",
        rows,
        "heat",
        id_column="site",
        time_column="at",
        ignore=("memo",),
        horizons=(1, 4),
    )
    assert (table.targets, table.horizons, table.horizon_names) == (
        ("heat",),
        (1, 4),
        ("+1 step", "+4 steps"),
    )
    assert (table.id_column, table.unused) == ("site", ("memo",))
    assert [(column.name, column.input, column.place) for column in table.columns] == [
        ("mode", "mode", 0), ("x", "numbers", 1), ("heat", "numbers", 0), ("since_previous", "numbers", 2)
    ]  # fmt: skip
    assert table.columns[-1].unit == "min"
    assert table.time is not None
    assert (table.time.column, table.time.format, table.time.unit) == ("at", "iso8601", "min")
    trained = {
        tuple(np.nan_to_num(sequence, nan=-1).ravel().tolist())
        for part in (data.train, data.validation, data.test) if part
        for sequence in part.sequences
    }  # fmt: skip
    first = sorted((row for row in rows if row["site"] == "s0"), key=lambda row: row["at"])[:24]
    steps, before = [], None
    for row in first:
        values, before = step(data, table, row, before)
        steps.append(values)
    begun = tuple(np.nan_to_num(np.array(steps, np.float32), nan=-1).ravel().tolist())
    assert any(sequence[: len(begun)] == begun for sequence in trained)


def test_the_target_of_a_class_and_an_empty_column_are_not_sent(tmp_path: Path) -> None:
    rows = [{"x": n % 5, "kind": "ab"[n // 10 % 2], "id": n // 10, "none": None} for n in range(300)]
    _, table = loaded(tmp_path / "t.csv", rows, "kind", id_column="id")
    assert [column.name for column in table.columns] == ["x"]
    assert (table.unused, table.targets, table.horizons, table.time) == (
        ("kind", "none"),
        ("kind",),
        (),
        None,
    )


@pytest.mark.parametrize("fields", [{"ignore": (SINCE,)}, {"categorical": (SINCE,)}, {}], ids=repr)
def test_no_derived_column_has_the_name_of_a_column(tmp_path: Path, fields: dict[str, Any]) -> None:
    rows = [{"at": n + n // 3 % 2 / 3, SINCE: n % 9, "y": n % 7 + 0.5} for n in range(90)]
    _, table = loaded(tmp_path / "t.csv", rows, "y", time_column="at", **fields)
    assert table.columns[-1].name == f"{SINCE}_"
    assert table.columns[-1].derived == SINCE


def test_a_run_without_a_description_is_refused_if_its_times_were_misread(tmp_path: Path) -> None:
    rows = [{"day": 20240501 + n, "y": n % 7 + 0.5} for n in range(30)]
    _, table = loaded(tmp_path / "t.csv", rows, "y", time_column="day")
    with pytest.raises(TableError, match="read dates such as 20240430 as plain numbers; train it again"):
        check_kept(table, tmp_path)
    keep(table, tmp_path)
    check_kept(table, tmp_path)
    _, table = loaded(tmp_path / "t.csv", rows, "y", time_column="day", time_format="number")
    with pytest.raises(TableError, match=r"reads the table otherwise .*time in table.json"):
        check_kept(table, tmp_path)
    (tmp_path / TABLE_FILE).write_text("{}")
    with pytest.raises(TableError, match=r"table\.json: Field required"):
        check_kept(table, tmp_path)
    (tmp_path / TABLE_FILE).unlink()
    check_kept(table, tmp_path)


def test_equally_spaced_steps_have_their_spacing_in_the_description(tmp_path: Path) -> None:
    rows = [{"at": f"2024-05-{1 + n // 24:02}T{n % 24:02}:00", "y": n % 7} for n in range(240)]
    _, table = loaded(tmp_path / "t.csv", rows, "y", time_column="at")
    assert table.time is not None
    assert (table.time.spacing, table.time.unit, table.time.zone) == (1, "h", None)
    assert [column.derived for column in table.columns] == [None]
