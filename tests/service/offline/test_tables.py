"""Tables: any cut of the rows gives the same sequences; rows that do not stand together are refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.request import Item
from service.errors import CellgateError, StartupError
from service.manifest import Manifest
from service.offline import tables

MANIFEST = Manifest.model_validate(
    {
        "task": "classify",
        "inputs": [{"name": "x", "dims": [2], "features": ["a", "b"]}],
        "outputs": [{"name": "y", "dims": [2]}],
    }
)
GAPS = Manifest(
    task="classify",
    inputs=(MANIFEST.inputs[0].model_copy(update={"missing": "nan"}),),
    outputs=MANIFEST.outputs,
)


def read(path: Path, key: str | None = "call", manifest: Manifest = MANIFEST) -> dict[object, object]:
    """The sequences, or the codes of their errors, by key."""
    found: dict[object, object] = {}
    for block in tables.blocks(path, manifest, key):
        keys, items = block.decode(manifest, max_steps=1000)
        for name, item in zip(keys.values, items, strict=True):
            assert name not in found
            found[name] = item.inputs[0].tolist() if isinstance(item, Item) else f"{item.code} {item.pointer}"
    return found


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    rows=st.integers(1, 7),
    most=st.integers(1, 4),
    suffix=st.sampled_from([".csv", ".parquet"]),
)
def test_any_cut_of_the_rows_gives_the_same_sequences(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], rows: int, most: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("table") / f"in{suffix}"
    names = [f"k{n}" for n, length in enumerate(lengths) for _ in range(length)]
    frame = pl.DataFrame({"b": np.arange(len(names)) / 8, "call": names, "a": np.arange(len(names))})
    frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "READ_VALUES", 3 * rows)
        patch.setattr(tables, "MAX_SEQUENCES", most)
        found = read(path)
    ends = np.cumsum(lengths)
    expected = {
        f"k{n}": [[row, row / 8] for row in range(end - length, end)]
        for n, (end, length) in enumerate(zip(ends.tolist(), lengths, strict=True))
    }
    assert found == expected and list(found) == list(expected)


def test_a_bad_value_is_the_error_of_its_sequence_alone(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("call,a,b\nA,1,2\nA,3,oops\nB,1,2\nC,1,NA\nD,1e39,2\n")
    assert read(path) == {
        "A": "invalid_field /steps/1/1",
        "B": [[1.0, 2.0]],
        "C": "invalid_field /steps/0/1",
        "D": "non_finite /steps/0/0",
    }
    found = read(path, manifest=GAPS)
    assert str(found["C"]) == "[[1.0, nan]]" and found["A"] == "invalid_field /steps/1/1"


def test_a_text_late_in_a_file_changes_nothing_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns are read as numbers until a text is found in one; what was read before it is not repeated."""
    monkeypatch.setattr(tables, "READ_VALUES", 1500)
    path = tmp_path / "in.csv"
    rows = [f"k{n // 2},{n},{n / 8}" for n in range(20_000)]
    rows[15_001] = "k7500, 7 ,oops"
    path.write_text("call,a,b\n" + "\n".join(rows))
    found = read(path)
    assert len(found) == 10_000 and list(found) == [f"k{n}" for n in range(10_000)]
    assert found.pop("k7500") == "invalid_field /steps/1/1"
    assert all(found[f"k{n}"] == [[2 * n, n / 4], [2 * n + 1, (2 * n + 1) / 8]] for n in range(7500))
    assert found["k9999"] == [[19_998, 19_998 / 8], [19_999, 19_999 / 8]]


def test_missing_values_late_in_a_file_change_nothing_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns are read as numbers alone until one has another text for a missing value than nothing."""
    monkeypatch.setattr(tables, "READ_VALUES", 1500)
    path = tmp_path / "in.csv"
    rows = [f"k{n // 2},{n},{n / 8}" for n in range(4000)]
    rows[1], rows[3001] = "k0,1,", "k1500,NA,null"
    path.write_text("call,a,b\n" + "\n".join(rows))
    found = read(path, manifest=GAPS)
    assert list(found) == [f"k{n}" for n in range(2000)]
    assert str(found["k0"]) == "[[0.0, 0.0], [1.0, nan]]"
    assert str(found["k1500"]) == "[[3000.0, 375.0], [nan, nan]]"


@pytest.mark.parametrize("key", ["", "NA", "?"])
def test_a_row_without_a_key_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"call,a,b\nx,1,2\n{key},1,2\n")
    with pytest.raises(StartupError, match="column 'call': a row has no value"):
        read(path)


@pytest.mark.parametrize("names", [["x", "y", "x"], ["z", "y", "x", "z"], [3, 1, 2, 1]])
def test_rows_of_a_sequence_stand_together(
    names: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one sequence would be answered as two, with nothing to show it."""
    path = tmp_path / "in.parquet"
    pl.DataFrame({"call": names, "a": [0.0] * len(names), "b": [0.0] * len(names)}).write_parquet(path)
    for rows in (1, 100):
        monkeypatch.setattr(tables, "READ_VALUES", 3 * rows)
        with pytest.raises(
            StartupError, match=f"sequence {names[-1]!r} do not stand together: sort the file by 'call'"
        ):
            read(path)


def test_the_whole_table_may_be_one_sequence(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    assert read(path, key=None) == {None: [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call,a\nx,1\n", "no column 'b'; its columns are 'call', 'a'"),
        ("a,b\n1,2\n", "no column 'call'"),
        ("call,a,b\n,1,2\n", "a row has no value, so its sequence is unknown"),
        ("call,a,b\n", "has no rows"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(text)
    with pytest.raises(StartupError, match=expected):
        read(path)


@pytest.mark.parametrize(
    "end", ["\n\n", "\r\n", ",,\n,,\n", "\n\nB,5,6\n"], ids=["lines", "CRLF", "commas", "between"]
)
def test_empty_lines_are_no_steps(end: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"call,a,b\nA,1,2\nA,3,4\n{end}")
    assert read(path)["A"] == [[1.0, 2.0], [3.0, 4.0]]
    path.write_text("a,b\n1,2\n\n3,4\n")
    with pytest.raises(StartupError, match="has an empty line, which may be a step"):
        read(path, key=None, manifest=GAPS)
    path.write_text("a,b\n1,2\n,NA\n3,4\n")
    assert str(read(path, key=None, manifest=GAPS)[None]) == "[[1.0, 2.0], [nan, nan], [3.0, 4.0]]"


@pytest.mark.parametrize("keys", [[["x"]], [{"x": 1}], [b"x"]], ids=["lists", "structs", "bytes"])
def test_a_column_that_names_no_sequences_is_refused(keys: list[object], tmp_path: Path) -> None:
    """A process ended when it wrote them, "out of memory?"."""
    path = tmp_path / "in.parquet"
    pl.DataFrame({"call": keys, "a": [1.0], "b": [2.0]}).write_parquet(path)
    with pytest.raises(StartupError, match=r"column 'call' is .*: expected texts, numbers or times"):
        read(path)


def test_a_number_that_stands_for_no_value_is_missing_in_every_format(tmp_path: Path) -> None:
    described = Manifest.model_validate(
        GAPS.model_dump(exclude={"table"})
        | {
            "table": {
                "missing": ["-999"],
                "columns": [
                    {"name": name, "kind": "number", "input": "x", "place": place}
                    for place, name in enumerate("ab")
                ],
            }
        }
    )
    frame = pl.DataFrame({"call": ["A", "A"], "a": ["-999", "2"], "b": ["1", "-999"]})
    frame.write_csv(tmp_path / "in.csv")
    frame.write_parquet(tmp_path / "in.parquet")
    for name in ("in.csv", "in.parquet"):
        assert str(read(tmp_path / name, manifest=described)) == "{'A': [[nan, 1.0], [2.0, nan]]}"


def test_categories_are_texts_and_ids_are_integers(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(
        {
            "task": "classify",
            "inputs": [
                {
                    "name": "mode",
                    "kind": "token",
                    "dtype": "int64",
                    "vocabulary": ["<other>", "run", "7"],
                    "unknown": 0,
                },
                {"name": "zone", "kind": "token", "dtype": "int64", "size": 9},
            ],
            "outputs": [{"name": "y"}],
        }
    )
    path = tmp_path / "in.csv"
    path.write_text("call,mode,zone\nA,run,8\nA,7,0\nB,walk,9\n")
    blocks = tables.blocks(path, manifest, "call")
    first, second = (item for block in blocks for item in block.decode(manifest, max_steps=9).sequences)
    assert isinstance(first, Item) and [x.tolist() for x in first.inputs] == [[1, 2], [8, 0]]
    assert isinstance(second, CellgateError) and second.pointer == "/steps/zone/0"
