"""What a table knows ahead: the values of later rows of the same sequence, and the later calendar."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.manifest import calendar
from training.config import Table
from training.data.dataset import DataSet
from training.data.file import TableError
from training.data.table import fingerprint, load

STEPS, SITES = 20, 12


def rows(rain: list[float | None] | None = None) -> dict[str, list[Any]]:
    places = [(site, step) for site in range(SITES) for step in range(STEPS)]
    at = datetime(2024, 10, 20)
    return {
        "site": [f"s{site:02}" for site, _ in places],
        "at": [(at + timedelta(hours=8 * step)).isoformat() for _, step in places],
        "level": [float(step * step % 11 + site) for site, step in places],
        "rain": rain or [float(100 * site + step) for site, step in places],
        "sky": [("dry", "wet")[step % 2] for _, step in places],
    }


def loaded(folder: Path, content: dict[str, list[Any]], **fields: Any) -> DataSet:
    path = folder / "t.csv"
    pl.DataFrame(content).write_csv(path)
    fields = {"id_column": "site", "time_column": "at", "targets": ("level",), "horizons": (1, 3)} | fields
    return load(Table(path=str(path), sha256=fingerprint(path), **fields))


def sequences(data: DataSet) -> list[Any]:
    parts = (data.train, data.validation, data.test)
    return [one for part in parts if part is not None for one in part.sequences]


def test_a_step_has_the_later_values_of_its_sequence(tmp_path: Path) -> None:
    data = loaded(tmp_path, rows(), known=("rain",), ignore=("sky",))
    known = data.inputs[-1]
    assert (known.name, known.features, known.is_ahead, known.has_gaps) == (
        "known", ("rain+1", "rain+3"), True, False,
    )  # fmt: skip
    for sequence in sequences(data):
        rain = sequence[:, 1]
        assert sequence[:-1, 2].tolist() == rain[1:].tolist()
        assert sequence[:-3, 3].tolist() == rain[3:].tolist()
        assert np.isfinite(sequence).all()  # behind the end too


def test_a_part_that_ends_within_a_sequence_knows_what_follows_and_no_target_of_it(tmp_path: Path) -> None:
    content = {name: values[: STEPS * 5] for name, values in rows().items()}
    data = loaded(tmp_path, content, known=("rain",), ignore=("sky",), split_by="time")
    train, targets = data.train.sequences[0], data.train.targets[0]
    assert train[-1, 2] == train[-1, 1] + 1  # the rain of the first step of the next part
    assert np.isnan(targets[-1]).all()


@given(st.sets(st.integers(0, STEPS * SITES - 1), min_size=30, max_size=80))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_later_value_that_is_missing_is_missing(tmp_path: Path, missing: set[int]) -> None:
    rain = [None if place in missing else float(place) for place in range(STEPS * SITES)]
    data = loaded(tmp_path, rows(rain), known=("rain",), ignore=("sky",))
    assert (
        data.inputs[-1].has_gaps
        == np.isnan(np.concatenate([one[:, 1] for one in data.train.sequences])).any()
    )
    for sequence in sequences(data) if data.inputs[-1].has_gaps else ():
        assert np.array_equal(sequence[:-3, 3], sequence[3:, 1], equal_nan=True)


def test_the_calendar_ahead_is_that_of_the_usual_spacing_by_the_clock_of_the_zone(tmp_path: Path) -> None:
    """Behind a clock that is put back, and behind the end of a sequence, as the server makes it."""
    data = loaded(tmp_path, rows(), calendar=("hour",), time_zone="America/New_York", ignore=("sky", "rain"))
    assert data.table is not None and data.table.time is not None
    assert [(one.name, one.derived, one.ahead) for one in data.table.columns if one.ahead] == [
        ("hour_sin+1", "hour_sin", 1), ("hour_cos+1", "hour_cos", 1), ("hour_sin+3", "hour_sin", 3),
        ("hour_cos+3", "hour_cos", 3),
    ]  # fmt: skip
    before, made = None, []
    for text in rows()["at"][:STEPS]:
        before = data.table.time.seconds(text, before)
        made.append(calendar(data.table.time, [("hour_sin", 1), ("hour_cos", 3)], before))
    own = sequences(data)[0]
    columns = [place for place, name in enumerate(own.T) if place in (own.shape[1] - 4, own.shape[1] - 1)]
    assert own[:, columns].tolist() == np.array(made, np.float32).tolist()


def test_the_calendar_ahead_is_that_of_later_rows_where_these_are_equally_spaced(tmp_path: Path) -> None:
    """It was the calendar of the row itself: the copy of the times' spec kept a cached spacing of 0."""
    data = loaded(tmp_path, rows(), calendar=("hour", "weekday"), ignore=("sky", "rain"))
    for own in sequences(data):
        at = own[:, 1:5]  # behind the level
        assert np.array_equal(own[:-1, 5:9], at[1:])
        assert np.array_equal(own[:-3, 9:13], at[3:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"known": ("level",)}, "--known 'level' is the target: .* would leak"),
        ({"known": ("rain",), "targets": ("sky",)}, "--known 'rain': the task is label; only forecasts"),
        ({"known": ("rain",), "task": "regress"}, "--known 'rain': the task is regress"),
        ({"known": ("sky",)}, "--known 'sky' has texts such as 'dry'; only numbers can be known ahead"),
        ({"known": ("rain",), "ignore": ("rain",)}, "--known 'rain' is also .* ignored"),
        ({"known": ("at",)}, "--known 'at' is also the id, the time"),
        ({"known": ("snow",)}, "--known 'snow': there is no such column"),
        ({"known": ("rain",), "static": ("rain",)}, "--known 'rain' is also --static"),
    ],
)
def test_what_cannot_be_known_ahead_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        loaded(tmp_path, rows(), **fields)
