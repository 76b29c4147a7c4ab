"""Users' tables: from rows to sequences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from service.manifest import TimeSpec
from training import run
from training.__main__ import main
from training.config import Table
from training.data import table as table_file
from training.data.dataset import DataSet
from training.data.file import Content, TableError, read
from training.data.rows import SINCE
from training.data.steps import MISSING, NUMBERS, OTHER
from training.data.table import fingerprint, interpret, load


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, words)], env={"COLUMNS": "200"})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows).write_csv(path)
    return path


def rooms(count: int = 20, *, steps: int = 12) -> list[dict[str, Any]]:
    """Sequences whose class depends on their numbers."""
    rng = np.random.default_rng(0)
    return [
        {"room": f"r{room}", "minute": 5 * step, "warmth": round(rng.normal(room % 2 * 3), 3),
         "window": ("open", "shut")[step % 2], "kind": ("cold", "warm")[room % 2]}
        for room in range(count) for step in range(steps + room % 3)
    ]  # fmt: skip


def table_of(path: Path, *targets: str, **fields: Any) -> Table:
    return Table(path=str(path), sha256=fingerprint(path), targets=targets, **fields)


def all_steps(data: DataSet) -> dict[tuple[float, ...], Any]:
    """Every sequence's numbers with its target, whatever the part."""
    assert data.validation is not None
    return {
        tuple(sequence.ravel().tolist()): target
        for part in (data.train, data.validation, data.test)
        for sequence, target in zip(part.sequences, part.targets, strict=True)
    }


def test_rows_become_sequences_of_different_lengths_with_named_inputs(tmp_path: Path) -> None:
    path = write(tmp_path / "rooms.csv", rooms())
    data, summaries, _ = interpret(table_of(path, "kind", id_column="room", time_column="minute"))
    assert (data.task, data.labels, data.name) == ("classify", ("cold", "warm"), "rooms")
    numbers, window = data.inputs
    assert (numbers.name, numbers.features, numbers.has_gaps) == (NUMBERS, ("warmth",), False)
    assert (window.name, window.kind, window.vocabulary) == ("window", "token", (OTHER, "open", "shut"))
    by_steps = all_steps(data)
    assert sorted({len(steps) // 2 for steps in by_steps}) == [12, 13, 14]
    assert len(by_steps) == 20
    assert [(row.name, row.role) for row in summaries] == [
        ("room", "sequence"), ("minute", "time, unit unknown"), ("warmth", "number"),
        ("window", "category"), ("kind", "target, category"),
    ]  # fmt: skip


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, random: Any) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = rooms()
    ordered = load(table_of(write(folder / "a.csv", rows), "kind", id_column="room", time_column="minute"))
    random.shuffle(rows)
    mixed = load(table_of(write(folder / "b.csv", rows), "kind", id_column="room", time_column="minute"))
    for part in ("train", "validation", "test"):
        one, two = getattr(ordered, part), getattr(mixed, part)
        assert one.targets.tolist() == two.targets.tolist()
        assert all(np.array_equal(a, b) for a, b in zip(one.sequences, two.sequences, strict=True))


def test_csv_and_parquet_are_the_same(tmp_path: Path) -> None:
    rows = rooms()
    pl.DataFrame(rows).write_parquet(tmp_path / "rooms.parquet")
    csv, parquet = (
        load(table_of(path, "kind", id_column="room", time_column="minute"))
        for path in (write(tmp_path / "rooms.csv", rows), tmp_path / "rooms.parquet")
    )
    assert all_steps(csv) == all_steps(parquet)


def test_missing_values_are_gaps_and_irregular_times_become_a_feature(tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "at": f"2024-03-0{1 + day} 0{hour}:00:00", "x": (hour, None)[hour == 3], "y": day}
        for number in range(12) for day, hours in enumerate(((0, 1, 3), (2, 3)), 1) for hour in hours
    ]  # fmt: skip
    data = load(table_of(write(tmp_path / "t.csv", rows), "y", id_column="id", time_column="at"))
    [numbers] = data.inputs
    assert numbers.features == ("y", "x", SINCE), "the target of a forecast comes first"
    assert numbers.units[-1] == "h"
    assert numbers.elapsed == 2
    assert numbers.has_gaps
    np.testing.assert_array_equal(
        data.train.sequences[0], [[1, 0, 0], [1, 1, 1], [1, np.nan, 2], [2, 2, 23], [2, np.nan, 1]]
    )


def test_numbers_are_forecast_over_every_horizon(tmp_path: Path) -> None:
    rows = [{"x": float(step**2), "z": 0.5} for step in range(100)]
    data = load(table_of(write(tmp_path / "one.csv", rows), "x", horizons=(1, 3)))
    assert data.forecast is not None
    assert (data.forecast.columns, data.forecast.names) == ((0,), ("+1 step", "+3 steps"))
    assert [len(part) for part in (data.train, data.validation, data.test) if part] == [1, 1, 1]
    sequence, target = data.test.sequences[0], data.test.targets[0]
    assert sequence[:, 0].tolist() == [step**2 for step in range(80, 100)]
    assert target[0].tolist() == [81**2, 83**2]
    assert np.isnan(target[-1]).all()


@pytest.mark.parametrize("horizon", [1, 7, 20])
def test_no_part_contains_values_of_a_later_one(tmp_path: Path, horizon: int) -> None:
    """Targets were once taken from the whole sequence, so the last ones came from the validation part."""
    path = write(tmp_path / "one.csv", [{"x": float(step)} for step in range(400)])
    data = load(table_of(path, "x", horizons=(horizon,)))
    assert data.validation is not None
    for part in (data.train, data.validation, data.test):
        last = max(sequence.max() for sequence in part.sequences)
        assert max(np.nanmax(target) for target in part.targets) == last
        late = part.sequences[-1][:, 0] > last - horizon
        assert np.isnan(part.targets[-1][late]).all()


def halves(gap: int) -> list[dict[str, Any]]:
    """One sequence of 100 steps, of which one has no x."""
    return [
        {"t": step, "y": step % 7 + 0.5, "x": None if step == gap else step % 5 + 0.5} for step in range(100)
    ]


def test_the_training_part_alone_decides_the_inputs(tmp_path: Path) -> None:
    data, _, notes = interpret(table_of(write(tmp_path / "a.csv", halves(gap=30)), "y", time_column="t"))
    assert (data.inputs[0].has_gaps, notes) == (True, [])
    path = write(tmp_path / "b.csv", [*halves(gap=92), {"t": 200, "y": 3.5, "x": 3.5}])
    data, _, notes = interpret(table_of(path, "y", time_column="t"))
    assert not data.inputs[0].has_gaps
    assert data.inputs[0].features == ("y", "x"), "the training steps are equally spaced"
    place = 92 - (101 - len(data.test.sequences[0]))
    assert data.test.sequences[0][place - 1 : place + 1, 1].tolist() == [1.5, 1.5], "the last observed value"
    filled, spacing = notes
    assert "column 'x': 1 missing, none of them in the training part" in filled
    assert "usually 1, with 1 above 1.5, at most 101 before row 102" in spacing


def test_a_sequence_shorter_than_the_horizon_has_no_target(tmp_path: Path) -> None:
    rows = [{"id": n, "y": s**2} for n in range(20) for s in range(1 + 3 * (n % 2))]
    data = load(table_of(write(tmp_path / "t.csv", rows), "y", id_column="id", horizons=(1, 2)))
    by_steps = all_steps(data)
    assert np.isnan(by_steps[(0,)]).all()
    np.testing.assert_array_equal(by_steps[0, 1, 4, 9], [[1, 4], [4, 9], [9, np.nan], [np.nan, np.nan]])


def test_numeric_times_have_no_unit_and_are_shown_by_size(tmp_path: Path) -> None:
    """They were once read as seconds, divided by 60, and shown as texts: 0 to 99 of 0 to 3,900."""
    rows = [{"day": day * 10 + day % 3, "y": day % 5} for day in range(391)]
    data, summaries, _ = interpret(table_of(write(tmp_path / "days.csv", rows), "y", time_column="day"))
    assert data.inputs[0].units == ("", "")
    assert data.test.sequences[0][:3, 1].tolist() == [8, 11, 11]
    assert [(row.role, row.values) for row in summaries if row.name != "y"] == [
        ("time, unit unknown", "0 to 3900"), ("number, from the time", "0 to 11"),
    ]  # fmt: skip


def test_texts_outside_the_training_part_are_other_and_nulls_are_missing(tmp_path: Path) -> None:
    rows = [{"y": s % 7, "k": "new" if s == 98 else None if s % 10 == 0 else "ab"[s % 2]} for s in range(100)]
    _, kind = load(table_of(write(tmp_path / "t.csv", rows), "y")).inputs
    assert kind.vocabulary == (OTHER, MISSING, "a", "b")
    assert (kind.unknown, kind.missing) == (0, 1)
    rows = [row for row in rows if row["k"] is not None]
    _, kind = load(table_of(write(tmp_path / "u.csv", rows), "y")).inputs
    assert (kind.unknown, kind.missing) == (0, 0), "null is <other> if only the test part has one"


def test_doubtful_columns_are_noted_and_empty_ones_ignored(tmp_path: Path) -> None:
    rows = [{"y": s % 7 / 2, "half": f"{s % 9},5", "name": f"n{s}", "none": None} for s in range(100)]
    data, summaries, notes = interpret(table_of(write(tmp_path / "t.csv", rows), "y"))
    assert [input_.name for input_ in data.inputs] == [NUMBERS, "half", "name"]
    assert data.inputs[0].features == ("y",)
    assert {row.name: row.values for row in summaries}["none"] == "none"
    assert [note.split(";")[0] for note in notes] == [
        "column 'half': numbers with a decimal comma, such as '0,5', are read as texts",
        "column 'name': nearly every row has a different text, so the categories cannot be learned",
        "column 'none' is empty: ignored",
    ]


def test_a_class_at_every_step_may_be_missing(tmp_path: Path) -> None:
    rows = [
        {"id": f"i{n}", "x": n + s, "does": (None, "runs", "rests")[s % 3]}
        for n in range(15)
        for s in range(6)
    ]
    data = load(table_of(write(tmp_path / "t.csv", rows), "does", id_column="id"))
    assert (data.task, data.labels) == ("label", ("rests", "runs"))
    assert data.test.targets[0].tolist() == [-1, 1, 0, -1, 1, 0]


def test_the_command_shows_the_interpretation_trains_and_can_be_repeated(tmp_path: Path) -> None:
    path = write(tmp_path / "rooms.csv", rooms())
    words = ("--data", path, "--id-column", "room", "--time-column", "minute", "--target", "kind")
    small = ("--hidden", "8", "--epochs", "2", "--out", tmp_path / "run")
    result = call(*words, *small, "--export", tmp_path / "models" / "rooms" / "1")
    assert result.exit_code == 0, result.output
    assert "target, category" in result.output
    assert "task classify: 12 sequences of 12 to 14 steps for training" in result.output
    manifest = json.loads((tmp_path / "models" / "rooms" / "1" / "model.json").read_text())
    assert [input_["name"] for input_ in manifest["inputs"]] == [NUMBERS, "window"]
    done = run.read(tmp_path / "run")
    again = run.command(done.config).split()[2:]
    assert again == [str(word) for word in (*words[:2], "--target", "kind", *words[2:6], *small[:4])]
    assert "is finished" in call(*again, "--out", tmp_path / "run").output
    path.write_text(path.read_text() + "r0,999,1.0,open,cold\n")
    with pytest.raises(TableError, match="has changed since the run was started"):
        run.read(tmp_path / "run")


def test_the_format_of_times_is_stated_shown_and_kept(tmp_path: Path) -> None:
    rows = [{"taken": f"{1 + n % 12:02}/{1 + n // 12:02}/2024", "weight": 70 - n % 9} for n in range(120)]
    path = write(tmp_path / "scale.csv", rows)
    words = ("--data", path, "--time-column", "taken", "--target", "weight", "--hidden", 4, "--epochs", 1)
    refused = call(*words, "--out", tmp_path / "run")
    assert refused.exit_code == 1
    assert "--time-format %d/%m/%Y or --time-format %m/%d/%Y says which" in refused.output
    stated = call(*words, "--time-format", "%m/%d/%Y", "--time-zone", "UTC", "--out", tmp_path / "run")
    assert stated.exit_code == 0, stated.output
    assert "time, written as %m/%d/%Y, zone UTC" in stated.output
    done = run.read(tmp_path / "run")
    assert done.data.table is not None
    assert done.data.table.time == TimeSpec(
        column="taken", format="%m/%d/%Y", zone="UTC", unit="d", spacing=1
    )
    assert "--time-format %m/%d/%Y --time-zone UTC" in run.command(done.config)


def test_a_table_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was parsed to be shown, and again to be trained on."""
    parsed: list[Path] = []

    def counted(path: Path, *rest: Any, **fields: Any) -> Content:
        parsed.append(path)
        return read(path, *rest, **fields)

    monkeypatch.setattr(table_file, "read", counted)
    path = write(tmp_path / "rooms.csv", rooms())
    words = ("--data", path, "--id-column", "room", "--target", "kind", "--hidden", 4, "--epochs", 1)
    assert call(*words, "--out", tmp_path / "run").exit_code == 0
    assert len(parsed) == 1
    assert "is finished" in call(*words, "--out", tmp_path / "run").output
    assert len(parsed) == 2
    assert call(*words, "--seeds", 2, "--out", tmp_path / "seeds").exit_code == 0
    assert len(parsed) == 3


def test_exactly_one_of_table_and_data_set_is_required(tmp_path: Path) -> None:
    path = write(tmp_path / "rooms.csv", rooms())
    assert "exactly one of them" in call().output
    assert "exactly one of them" in call("vowels", "--data", path, "--target", "kind").output
    assert "--target requires --data" in call("vowels", "--target", "kind").output
    assert "--target is missing; the columns are room, minute" in call("--data", path).output
    assert "No such file" in call("--data", tmp_path / "none.csv", "--target", "x").output
