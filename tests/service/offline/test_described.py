"""Columns of a described table: the arrays that its records give one by one, or the error that they give."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from service.codec.arrays import check_window
from service.codec.records import decode_steps
from service.codec.request import Item
from service.errors import CellgateError
from service.manifest import Manifest
from service.offline.columns import as_plain, records_of, texts_of_null, without_targets
from service.offline.table_block import TableBlock
from service.predict.kept import opening_state
from service.predict.timed import with_times
from service.sequence import State
from service.state import StateLayout
from service.times import ISO, SCALES
from tests.service.oven_model import MANIFEST, MODES, with_known, with_static

COLUMN = {"column": "at", "unit": "min"}


def oven(missing: str = "error", time: dict[str, Any] | None = None) -> Manifest:
    numbers, mode = MANIFEST["inputs"]
    table = MANIFEST["table"] | {"time": time or MANIFEST["table"]["time"]}
    numbers = numbers | {"missing": missing}
    if table["time"].get("format") != "number":
        columns = [
            {"name": name, "kind": "number", "input": "numbers", "place": place, "derived": name}
            for place, name in enumerate(("hour_cos", "weekday_sin"), 2)
        ]
        table["columns"] = [*table["columns"], *columns]
        features = [*numbers["features"], "hour_cos", "weekday_sin"]
        numbers |= {"dims": [4], "features": features, "units": [*numbers["units"], "", ""]}
    return Manifest.model_validate(MANIFEST | {"inputs": [numbers, mode], "table": table})


class Model(NamedTuple):
    """A model as far as times need it."""

    manifest: Manifest
    layout: StateLayout
    initial_state: State


def finished(item: Item | CellgateError, manifest: Manifest) -> Any:
    """The arrays that the engine would be given, or the problem."""
    layout = StateLayout.of(manifest)
    try:
        if isinstance(item, CellgateError):
            raise item
        model = Model(manifest, layout, layout.initial())
        state = opening_state(model, item)
        arrays = (*with_times(model, item, state).inputs, *state)
        return [(array.dtype, array.tolist()) for array in arrays]
    except CellgateError as error:
        return error.problem()


def alone(rows: pl.DataFrame, manifest: Manifest) -> Any:
    """The same of one sequence, record by record."""
    try:
        inputs, kept, times = decode_steps(
            without_targets(records_of(rows, manifest), manifest), manifest, "/steps", 3
        )
        check_window(len(inputs[0]), manifest, "/steps")
        return finished(Item(inputs, kept=kept, times=times), manifest)
    except CellgateError as error:
        return finished(error, manifest)


def check(columns: dict[str, pl.Series], lengths: list[int], manifest: Manifest) -> None:
    """Every sequence of the columns has the same arrays or problem in both ways."""
    nulls = texts_of_null(manifest)
    frame = pl.DataFrame({name: as_plain(column, nulls) for name, column in columns.items()})
    block = TableBlock(frame, np.cumsum(lengths), None, 1.0)
    items = block.decode(manifest, max_steps=3).sequences
    pieces = [frame[end - length : end] for end, length in zip(block.ends, lengths, strict=True)]
    ours, theirs = [finished(item, manifest) for item in items], [alone(piece, manifest) for piece in pieces]
    assert repr(ours) == repr(theirs)  # NaN equals NaN


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda chance: usual if chance else other)


floats = mostly(st.floats(-9, 9), st.sampled_from([float("nan"), float("inf"), 1e39, None, 16777217.0]))
integers = mostly(st.integers(-9, 9), st.sampled_from([2**63 - 1, None]))
digits = mostly(
    st.sampled_from(["1", " 2.5 ", "-3e2"]),
    st.sampled_from(["1_0", "", "NA", "?", "oops", "inf", "0x1", None, "٣"]),
)
NUMBERS: list[tuple[st.SearchStrategy[Any], Any]] = [
    (floats, pl.Float64), (floats, pl.Float32), (integers, pl.Int64), (digits, pl.String),
    (digits, pl.Categorical), (st.booleans(), pl.Boolean), (st.none(), pl.Null),
    (st.sampled_from([Decimal("1.25"), None]), pl.Decimal(9, 2)), (st.just([1.0]), pl.List(pl.Float64)),
]  # fmt: skip
names = mostly(st.sampled_from(["run", "7"]), st.sampled_from([*MODES, "unseen", "NA", "", None]))
KINDS: list[tuple[st.SearchStrategy[Any], Any]] = [
    (names, pl.String), (names, pl.Categorical), (mostly(st.just(7), st.sampled_from([3, None])), pl.Int64),
    (mostly(st.just(7.0), st.sampled_from([7.5, float("nan"), None])), pl.Float64),
    (st.booleans(), pl.Boolean), (st.none(), pl.Null), (st.just(date(2026, 1, 1)), pl.Date),
]  # fmt: skip
RANGES = [  # of times: about both changes of the clock in Berlin, and far from them
    (datetime(2026, 3, 28, 20), datetime(2026, 3, 29, 6)),
    (datetime(2026, 10, 24, 20), datetime(2026, 10, 25, 6)),
    (datetime(2026, 5, 1), datetime(2026, 5, 9)),
    (datetime(1600, 1, 1), datetime(2300, 1, 1)),
]
NUM_ISO = 6  # of the first that follow
WRITTEN = [
    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d", "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%dT%H:%M:%S+02:30", "%Y-%m-%d %H:%M:%S.%f-23:59", "%Y%m%d", "%Y-%m-%dT%H:%M+24:00",
    "%Y-%m-%dT24:%M", "%Y-%m-%dT%H:%M:60", " %Y-%m-%dT%H:%M ", "%d/%m/%Y %H:%M", "%e/%m/%Y %k:%M", "%Y-%m-31",
    "%s", "never", "",
]  # fmt: skip
TIMES: list[dict[str, Any]] = [
    COLUMN, COLUMN | {"zone": "offset"}, COLUMN | {"zone": "Europe/Berlin"},
    COLUMN | {"format": "%d/%m/%Y %H:%M"},
    COLUMN | {"format": "%d/%m/%Y %H:%M", "zone": "Europe/Berlin"}, COLUMN | {"format": "%Y%m%d"},
    COLUMN | {"format": "seconds"}, COLUMN | {"format": "milliseconds"}, COLUMN | {"format": "number"},
]  # fmt: skip


@st.composite
def time_columns(draw: st.DrawFn, rows: int, form: str) -> pl.Series:
    moments = draw(st.lists(st.datetimes(*draw(st.sampled_from(RANGES))), min_size=rows, max_size=rows))
    gaps: list[Any] = sorted(moments) if draw(st.integers(0, 9)) else list(moments)
    if not draw(st.integers(0, 3)):
        gaps[draw(st.integers(0, rows - 1))] = None
    fitting = "numbers" if form in SCALES else "texts"
    how = draw(st.sampled_from([*[fitting] * 4, "dates", "naive", "zone", "nanoseconds", "numbers"]))
    if how == "numbers":
        return pl.Series([None if each is None else each.timestamp() for each in gaps], dtype=pl.Float64)
    if how == "texts":
        usual = form if "%" in form else draw(st.sampled_from(WRITTEN[: NUM_ISO if form == ISO else None]))
        forms = [usual if draw(st.integers(0, 9)) else draw(st.sampled_from(WRITTEN)) for _ in gaps]
        return pl.Series(
            [None if each is None else each.strftime(form) for each, form in zip(gaps, forms, strict=True)],
            dtype=pl.String,
        )
    if how == "dates":
        return pl.Series([None if each is None else each.date() for each in gaps], dtype=pl.Date)
    if how == "zone":
        aware = [None if each is None else each.replace(tzinfo=UTC) for each in gaps]
        return pl.Series(aware, dtype=pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Kathmandu")
    return pl.Series(gaps, dtype=pl.Datetime("us")).cast(
        pl.Datetime("ns" if how == "nanoseconds" else "us"), strict=False
    )


@given(st.data(), st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_static_columns_give_what_records_give(data: st.DataObject, lengths: list[int]) -> None:
    rows = sum(lengths)
    columns = {"temperature": pl.Series([1.0] * rows), "at": pl.Series(["2026-05-01T00:00"] * rows)}
    for name, usual in (("maker", "Acme"), ("power", 2.0), ("depth", 3.5)):
        other = st.sampled_from([usual, None]) if name == "maker" else st.sampled_from([usual, 4.0, None])
        values = [data.draw(mostly(st.just(usual), other)) for _ in range(rows)]
        if data.draw(st.integers(0, 9)):
            columns[name] = pl.Series(values, dtype=pl.String if name == "maker" else pl.Float64)
    check(columns, lengths, with_static())


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(TIMES))
def test_columns_give_what_records_give(
    data: st.DataObject, lengths: list[int], time: dict[str, Any]
) -> None:
    rows = sum(lengths)
    columns = {}
    for name, possible in (("temperature", NUMBERS), ("mode", KINDS)):
        values, dtype = possible[max(0, data.draw(st.integers(1 - len(possible), len(possible) - 1)))]
        drawn = data.draw(st.lists(values, min_size=rows, max_size=rows))
        columns[name] = pl.Series(drawn, dtype=dtype)
    columns["at"] = data.draw(time_columns(rows, time.get("format", ISO)))
    if data.draw(st.booleans()):
        del columns["mode"]
    check(columns, lengths, oven(data.draw(st.sampled_from(["nan", "error"])), time))


def test_rows_of_the_future_are_no_steps_where_values_may_be_missing() -> None:
    """The values ahead were missing then, and the future was answered."""
    manifest = with_known()
    inputs = [
        spec.model_copy(update={"missing": "nan"}) if spec.kind == "numeric" else spec
        for spec in manifest.inputs
    ]
    gaps = Manifest.model_validate(manifest.model_copy(update={"inputs": tuple(inputs)}).model_dump())
    columns = {
        "temperature": pl.Series([1.0, 2.0, None, None] * 2),
        "fuel": pl.Series([1.0, 2, 3, 4, 5, 6, 7, 8]),
        "at": pl.Series([f"2026-05-01T10:0{n}" for n in range(8)]),
    }
    check(columns, [4, 4], gaps)
    block = TableBlock(pl.DataFrame(columns), np.array([4, 8]), None, 1.0)
    first, _ = block.decode(gaps, max_steps=9).sequences
    assert isinstance(first, Item) and first.inputs[2][:, :2].tolist() == [[2, 3], [3, 4]]
