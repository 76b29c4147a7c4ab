"""Tables of one's own: from rows to sequences, and errors that name row and column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from training import run
from training.__main__ import main
from training.config import Table
from training.data.columns import TableError
from training.data.dataset import DataSet
from training.data.table import NUMBERS, OTHER, SINCE, fingerprint, load, understand


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, words)], env={"COLUMNS": "200"})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows).write_csv(path)
    return path


def rooms(count: int = 20, *, steps: int = 12) -> list[dict[str, Any]]:
    """A class of each sequence that its numbers tell."""
    rng = np.random.default_rng(0)
    return [
        {"room": f"r{room}", "minute": 5 * step, "warmth": round(rng.normal(room % 2 * 3), 3),
         "window": ("open", "shut")[step % 2], "kind": ("cold", "warm")[room % 2]}
        for room in range(count) for step in range(steps + room % 3)
    ]  # fmt: skip


def told(path: Path, *targets: str, **fields: Any) -> Table:
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
    data, shown = understand(told(path, "kind", id_column="room", time_column="minute"))
    assert (data.task, data.labels, data.name) == ("classify", ("cold", "warm"), "rooms")
    numbers, window = data.inputs
    assert (numbers.name, numbers.features, numbers.has_gaps) == (NUMBERS, ("warmth",), False)
    assert (window.name, window.kind, window.vocabulary) == ("window", "token", (OTHER, "open", "shut"))
    found = all_steps(data)
    assert sorted({len(steps) // 2 for steps in found}) == [12, 13, 14]
    assert len(found) == 20
    assert [(row.column, row.taken_for) for row in shown] == [
        ("room", "the sequence"), ("minute", "the time"), ("warmth", "number"), ("window", "category"),
        ("kind", "target, category"),
    ]  # fmt: skip


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, random: Any) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = rooms()
    ordered = load(told(write(folder / "a.csv", rows), "kind", id_column="room", time_column="minute"))
    random.shuffle(rows)
    mixed = load(told(write(folder / "b.csv", rows), "kind", id_column="room", time_column="minute"))
    for part in ("train", "validation", "test"):
        one, two = getattr(ordered, part), getattr(mixed, part)
        assert one.targets.tolist() == two.targets.tolist()
        assert all(np.array_equal(a, b) for a, b in zip(one.sequences, two.sequences, strict=True))


def test_csv_and_parquet_are_the_same(tmp_path: Path) -> None:
    rows = rooms()
    pl.DataFrame(rows).write_parquet(tmp_path / "rooms.parquet")
    csv, parquet = (
        load(told(path, "kind", id_column="room", time_column="minute"))
        for path in (write(tmp_path / "rooms.csv", rows), tmp_path / "rooms.parquet")
    )
    assert all_steps(csv) == all_steps(parquet)


def test_missing_values_are_gaps_and_irregular_times_are_told(tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "at": f"2024-03-0{1 + day} 0{hour}:00:00", "x": (hour, None)[hour == 3], "y": day}
        for number in range(12) for day, hours in enumerate(((0, 1, 3), (2, 3)), 1) for hour in hours
    ]  # fmt: skip
    data = load(told(write(tmp_path / "t.csv", rows), "y", id_column="id", time_column="at"))
    [numbers] = data.inputs
    assert numbers.features == ("y", "x", SINCE), "what is foretold is first"
    assert numbers.units[-1] == "h"
    assert numbers.has_gaps
    np.testing.assert_array_equal(
        data.train.sequences[0], [[1, 0, 0], [1, 1, 1], [1, np.nan, 2], [2, 2, 23], [2, np.nan, 1]]
    )


def test_numbers_are_foretold_over_every_horizon(tmp_path: Path) -> None:
    rows = [{"x": float(step**2), "z": 0.5} for step in range(100)]
    data = load(told(write(tmp_path / "one.csv", rows), "x", horizons=(1, 3)))
    assert data.forecast is not None
    assert (data.forecast.columns, data.forecast.names) == ((0,), ("+1 step", "+3 steps"))
    assert [len(part) for part in (data.train, data.validation, data.test) if part] == [1, 1, 1]
    sequence, target = data.test.sequences[0], data.test.targets[0]
    assert sequence[:, 0].tolist() == [step**2 for step in range(80, 100)]
    assert target[0].tolist() == [81**2, 83**2]
    assert np.isnan(target[-1]).all()


def test_a_class_at_every_step_may_be_missing(tmp_path: Path) -> None:
    rows = [
        {"id": f"i{n}", "x": n + s, "does": (None, "runs", "rests")[s % 3]}
        for n in range(15)
        for s in range(6)
    ]
    data = load(told(write(tmp_path / "t.csv", rows), "does", id_column="id"))
    assert (data.task, data.labels) == ("label", ("rests", "runs"))
    assert data.test.targets[0].tolist() == [-1, 1, 0, -1, 1, 0]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("id,x,y\na,1,2\n", {}, r"--target 'q': there is no such column among id, x, y"),
    ("", {}, "empty"),
    ("id,x,q\n", {}, "has no rows"),
    ("id,x,q\na,1,2\n,3,4\n", {"id_column": "id"}, "row 3, column 'id': the id is missing"),
    ("t,q\n2024-01-01,2\nsoon,4\n", {"time_column": "t"}, "row 3, column 't': 'soon' is no time"),
    (
        "x,q\n" + "1,2\n" * 20 + "oops,3\n",
        {},
        "row 22, column 'x': 'oops' is no number, but 95.2% of the column are",
    ),
    (
        "id,x,q\na,1,yes\na,2,no\n",
        {"id_column": "id", "task": "classify"},
        "row 3, column 'q': 'no', but sequence 'a' began with 'yes'",
    ),
    ("id,x,q\na,1,yes\nb,2,yes\n", {"id_column": "id"}, "column 'q': there is one class only, yes"),
    ("id,x,q\na,1,yes\nb,2,no\n", {"id_column": "id"}, "2 sequences: at least 10, and three of each class"),
    ("q\n1\n2\n3\n", {"task": "label", "categorical": ("q",)}, "there is no column to learn from but q"),
    ("x,q\n1,2\n", {"ignore": ("y",)}, "--ignore 'y': there is no such column"),
    ("windo,q\n1,2\n", {"ignore": ("window",)}, "did you mean 'windo'"),
    ("x,q\n1,2\n", {"time_column": "q"}, "--target 'q' is also the id, the time, or ignored"),
    ("h,q\n" + "a,2\nb,3\n" * 20, {}, "column 'h': this name is taken in the graph"),
    ("x,q\n1,2,3\n", {}, "found more fields"),
    ("x,q\n" + "".join(f"t{n},1\n" for n in range(1200)), {}, "column 'x' has 1200 different texts"),
]


@pytest.mark.parametrize(("text", "fields", "why"), BAD, ids=[why[:40] for _, _, why in BAD])
def test_a_bad_table_is_told_by_row_and_column(
    text: str, fields: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=why):
        load(told(path, "q", **fields))


def test_the_command_shows_what_it_took_trains_and_can_be_given_again(tmp_path: Path) -> None:
    path = write(tmp_path / "rooms.csv", rooms())
    words = ("--data", path, "--id-column", "room", "--time-column", "minute", "--target", "kind")
    small = ("--hidden", "8", "--epochs", "2", "--out", tmp_path / "run")
    result = call(*words, *small, "--export", tmp_path / "models" / "rooms" / "1")
    assert result.exit_code == 0, result.output
    assert "target, category" in result.output
    assert "task classify: 12 sequences of 12 to 14 steps to learn from" in result.output
    manifest = json.loads((tmp_path / "models" / "rooms" / "1" / "model.json").read_text())
    assert [given["name"] for given in manifest["inputs"]] == [NUMBERS, "window"]
    done = run.read(tmp_path / "run")
    again = run.command(done.config).split()[2:]
    assert again == [str(word) for word in (*words[:2], "--target", "kind", *words[2:6], *small[:4])]
    assert "is finished" in call(*again, "--out", tmp_path / "run").output
    path.write_text(path.read_text() + "r0,999,1.0,open,cold\n")
    with pytest.raises(TableError, match="has changed since the run was started"):
        run.read(tmp_path / "run")


def test_a_table_or_a_data_set_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rooms.csv", rooms())
    assert "one of them" in call().output
    assert "one of them" in call("vowels", "--data", path, "--target", "kind").output
    assert "--target goes with --data" in call("vowels", "--target", "kind").output
    assert "--target is missing; the columns are room, minute" in call("--data", path).output
    assert "No such file" in call("--data", tmp_path / "none.csv", "--target", "x").output
