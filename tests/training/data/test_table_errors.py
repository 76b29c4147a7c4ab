"""Errors in a table name the row, the column and the fix."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.config import Table
from training.data.file import TableError
from training.data.table import fingerprint, load

CLASSED = "id,x,q\n" + "".join(f"{row // 5},{row},{row // 5 % 2}\n" for row in range(100))
COUNTED = "x,q\n" + "".join(f"{row % 3},{row % 7}\n" for row in range(100))
RARE = "id,x,q\n" + "".join(f"{row},1,{'once' if row == 3 else 'ab'[row % 2]}\n" for row in range(12))

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("id,x,y\na,1,2\n", {}, r"--target 'q': there is no such column among id, x, y"),
    ("", {}, "empty"),
    ("id,x,q\n", {}, "has no rows"),
    ("id,x,q\na,1,2\n,3,4\n", {"id_column": "id"}, "row 3, column 'id': the id is missing"),
    ("t,q\n2024-01-01,2\nsoon,4\n", {"time_column": "t"}, "row 3, column 't': 'soon' is not a time"),
    (
        "x,q\n" + "1,2\n" * 20 + "oops,3\n",
        {},
        "row 22, column 'x': 'oops' is not a number, but 95.2% of the column are",
    ),
    (
        "id,x,q\na,1,yes\na,2,no\n",
        {"id_column": "id", "task": "classify"},
        "row 3, column 'q': 'no', but sequence 'a' starts with 'yes'",
    ),
    ("id,x,q\na,1,yes\nb,2,yes\n", {"id_column": "id"}, "column 'q': there is only one class, yes"),
    ("id,x,q\na,1,yes\nb,2,no\n", {"id_column": "id"}, "2 sequences: at least 10, and three of each class"),
    (
        "q\n" + "1\n2\n3\n" * 9,
        {"task": "label", "categorical": ("q",)},
        "no column is left to learn from besides q",
    ),
    ("x,q\n1,2\n", {"ignore": ("y",)}, "--ignore 'y': there is no such column"),
    ("windo,q\n1,2\n", {"ignore": ("window",)}, "did you mean 'windo'"),
    (
        "x,q\n1,2\n",
        {"time_column": "q"},
        "--target 'q' is also the id, the time, the split, the group, or ignored",
    ),
    (
        'x,q\n1,2\n"a\nb",2,3\n',
        {},
        r"bad\.csv, row 3: the header has 2 fields, this row 3; a text with a comma",
    ),
    ("x,q\n1,2\n\n1\n1,2\n", {}, r"bad\.csv, row 4: the header has 2 fields, this row 1"),
    ("x;y;q\n1;2;3\n", {}, "row 1: one column, 'x;y;q'; separate the fields by commas, not semicolons"),
    ("q,x,q\n1,2,3\n", {}, "row 1: two columns are called 'q'"),
    ("x,q\n1,2\ninf,3\n", {}, "row 3, column 'x': inf is too large a number"),
    ("x,q\n1,2\n1,-1e39\n", {}, "row 3, column 'q': -1e39 is too large a number"),
    ("t,q\n1,2\ninf,3\n", {"time_column": "t"}, "row 3, column 't': 'inf' is not a time"),
    ("t,q\n1,2\n,3\n", {"time_column": "t"}, "row 3, column 't': the time is missing"),
    ("x,q\n1,\n2,\n", {}, "column 'q' is empty"),
    ("x,q\n" + "1,5\n2,5\n" * 20, {}, "column 'q' is 5 in every row of the training part: there is nothing"),
    (CLASSED, {"id_column": "id"}, "column 'q' never changes within a sequence.*--task classify"),
    ("x,q\n" + "1,1\n2,0\n" * 20, {"horizons": (2,)}, "--horizon 2.*column 'q' does not change over 2 steps"),
    ("x,q\n" + "1,1\n2,\n3,4\n4,\n" * 20, {}, "column 'q' is never known both now and over 1 steps"),
    (COUNTED, {"horizons": (1, 30)}, "--horizon 30: in the validation part, .* has 20 steps"),
    (COUNTED, {"horizons": (500,)}, "--horizon 500: in the training part, .* has 60 steps"),
    (
        COUNTED,
        {"task": "forecast", "categorical": ("q",)},
        "column 'q' has texts, but a forecast needs numbers",
    ),
    (
        COUNTED,
        {"task": "label", "targets": ("x", "q")},
        "several targets are possible for numbers, to forecast or to regress, and .* --task multilabel",
    ),
    (RARE, {"id_column": "id"}, "12 sequences: at least 10, and three of each class.*; 'once' has 1"),
    ("x,q\n" + "1,a\n2,b\n" * 20 + "1,\n" * 40, {}, "column 'q': the validation part has no class"),
    ("x,q\n" + "".join(f"t{n},1\n" for n in range(1200)), {}, "column 'x' has 1200 different texts"),
]


@pytest.mark.parametrize(("text", "fields", "message"), BAD, ids=[message[:40] for _, _, message in BAD])
def test_the_error_names_row_and_column_of_a_bad_table(
    text: str, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=message):
        load(table_of(path, **fields))


def table_of(path: Path, **fields: Any) -> Table:
    return Table(**{"path": str(path), "sha256": fingerprint(path), "targets": ("q",)} | fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,q\n1,2\né,1\n".encode("latin-1"), "row 3: the encoding is not UTF-8, maybe Latin-1"),
        ("x,q\n1,2\n".encode("utf-16"), "the encoding is UTF-16; save it as UTF-8"),
    ],
)
def test_the_error_names_another_encoding(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message):
        load(table_of(path))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1, 2]] * 40, r"column 'l' holds List\(Int64\), not a number, text or time: --ignore it"),
        ([1.0] * 17 + [float("inf")] * 23, "row 19, column 'l': inf is too large a number"),
    ],
)
def test_parquet_files_are_checked_alike(column: list[Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    pl.DataFrame({"q": [row % 7 for row in range(40)], "l": column}).write_parquet(path)
    with pytest.raises(TableError, match=message):
        load(table_of(path))
