"""Calendar features of a table: the training and the server make the same bits of the same times."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.codec.records import decode_steps
from service.manifest import Manifest, OutputSpec
from service.predict.timed import timed_inputs
from service.sequence import State
from service.state import StateLayout
from training.config import Table
from training.data.dataset import DataSet
from training.data.file import TableError
from training.data.table import Interpreted, fingerprint, interpret
from training.export.manifest import _input

HOURLY = [datetime(2024, 3, 25) + timedelta(hours=6 * step) for step in range(120)]


class Served(NamedTuple):
    """A model as far as the times of a request need it."""

    manifest: Manifest
    layout: StateLayout
    initial_state: State


def table_of(path: Path, times: list[Any], **fields: Any) -> Table:
    rows = {"at": times, "y": [float(step % 7) for step in range(len(times))]}
    pl.DataFrame(rows).write_csv(path)
    fields = {"time_column": "at", "targets": ("y",)} | fields
    return Table(path=str(path), sha256=fingerprint(path), **fields)


def served(data: DataSet) -> Served:
    inputs = tuple(map(_input, data.inputs))
    manifest = Manifest(
        task="forecast", inputs=inputs, outputs=(OutputSpec(name="z", dims=(1,)),), table=data.table
    )
    layout = StateLayout.of(manifest)
    return Served(manifest, layout, layout.initial())


def made_by_the_server(model: Served, records: list[dict[str, Any]]) -> Any:
    inputs, _, times = decode_steps(records, model.manifest, "", 10**6)
    assert times is not None
    return np.hstack(timed_inputs(model, inputs, times, model.initial_state)[:-1])


@given(
    start=st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)),
    gaps=st.lists(st.integers(7200, 80_000), min_size=40, max_size=40),
    zone=st.sampled_from([None, "Europe/Berlin", "America/New_York", "UTC"]),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_server_makes_the_same_bits_as_the_training(
    tmp_path: Path, start: datetime, gaps: list[int], zone: str | None
) -> None:
    moments = [start + timedelta(seconds=sum(gaps[:step])) for step in range(len(gaps))]
    texts = [moment.isoformat() + ("Z" if zone else "") for moment in moments]
    table = table_of(tmp_path / "t.csv", texts, calendar=("hour", "weekday"), time_zone=zone)
    data = interpret(table).data
    assert data.validation is not None
    parts = (data.train, data.validation, data.test)
    trained = np.concatenate([sequence for part in parts for sequence in part.sequences])
    model, y = served(data), [float(step % 7) for step in range(len(texts))]
    made = made_by_the_server(model, [{"at": text, "y": value} for text, value in zip(texts, y, strict=True)])
    assert [data.inputs[0].features[at] for at in (0, -4, -3, -2, -1)] == [
        "y", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos",
    ]  # fmt: skip
    assert made.tobytes() == trained.tobytes()


def test_equally_spaced_steps_have_a_calendar_without_the_time_since_the_previous(tmp_path: Path) -> None:
    times = [moment.isoformat() for moment in HOURLY]
    found = interpret(table_of(tmp_path / "t.csv", times, calendar=("hour",)))
    assert [column.name for column in found.columns][-2:] == ["hour_sin", "hour_cos"]
    model = served(found.data)
    with_time = made_by_the_server(model, [{"y": 1, "at": "2024-05-01T06:00"}])
    assert with_time[:, :3].tolist() == [[1, 1, np.float32(6.123234e-17)]]
    with pytest.raises(Exception, match="expected a time \\(ISO 8601\\) in 'at', got nothing"):
        decode_steps([{"y": 1}], model.manifest, "", 10)


def test_a_column_with_the_name_of_a_feature_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = table_of(path, [moment.isoformat() for moment in HOURLY], calendar=("hour",))
    frame = pl.read_csv(path).with_columns(hour_sin=pl.col("y") * 2)
    frame.write_csv(path)
    data = interpret(table.model_copy(update={"sha256": fingerprint(path)})).data
    assert data.inputs[0].features == ("y", "hour_sin", "hour_sin_", "hour_cos")
    assert data.table is not None
    assert [(one.name, one.derived) for one in data.table.columns if one.derived and not one.ahead] == [
        ("hour_sin_", "hour_sin"), ("hour_cos", "hour_cos"),
    ]  # fmt: skip


def interpreted(tmp_path: Path, step: timedelta, count: int, **fields: Any) -> Interpreted:
    times = [(datetime(2020, 1, 1) + step * number).isoformat() for number in range(count)]
    return interpret(table_of(tmp_path / "t.csv", times, **fields))


@pytest.mark.parametrize(
    ("step", "count", "proposed"),
    [
        (timedelta(hours=1), 1000, "hour,weekday"),
        (timedelta(days=1), 300, "weekday"),
        (timedelta(days=1), 1500, "weekday,day-of-year"),
        (timedelta(days=30), 60, "day-of-year"),
        (timedelta(minutes=10), 100, ""),
    ],
)
def test_the_parts_that_repeat_in_the_training_part_are_proposed(
    tmp_path: Path, step: timedelta, count: int, proposed: str
) -> None:
    notes = [note for note in interpreted(tmp_path, step, count).notes if "--calendar" in note]
    assert [f"--calendar {proposed} makes" in note for note in notes] == [True] * bool(proposed)
    assert not [n for n in interpreted(tmp_path, step, count, calendar=("none",)).notes if "--calendar" in n]
    auto = interpreted(tmp_path, step, count, calendar=("auto",)).data
    assert auto.table is not None
    parts = dict.fromkeys(one.name.rpartition("_")[0].replace("_", "-") for one in auto.table.calendar)
    assert ",".join(parts) == proposed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"calendar": ("fortnight",)}, "--calendar fortnight: expected minute, hour, weekday"),
        ({"calendar": ("auto", "hour")}, "--calendar auto: expected minute, hour"),
        ({"calendar": ("month",)}, "--calendar month: it is the same at all steps"),
        ({"calendar": ("hour",), "time_column": None, "ignore": ("at",)}, "--calendar needs --time-column"),
    ],
)
def test_parts_that_cannot_be_learnt_are_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        interpret(table_of(tmp_path / "t.csv", [moment.isoformat() for moment in HOURLY[:20]], **fields))


def test_numbers_count_from_1970_or_have_no_calendar(tmp_path: Path) -> None:
    seconds = [1_700_000_000 + 3600 * step for step in range(60)]
    with pytest.raises(TableError, match="plain numbers of unknown unit; --time-format seconds"):
        interpret(table_of(tmp_path / "t.csv", seconds, calendar=("hour",)))
    found = interpret(table_of(tmp_path / "t.csv", seconds, calendar=("hour",), time_format="seconds"))
    assert "--calendar: the numbers of column 'at' count from 1970, in UTC" in found.notes
