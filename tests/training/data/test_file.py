"""CSV and Parquet files: read as they are, or refused with the row at fault."""

import gzip
import hashlib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.file import MISSING, TableError, listed, read

FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=8).filter(
    lambda text: text.strip() == text and text not in MISSING
)


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_quoted_texts_are_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    quoted = ["".join(('"', field.replace('"', '""'), '"')) for row in rows for field in row]
    lines = [f"{first},{second}" for first, second in zip(quoted[::2], quoted[1::2], strict=True)]
    path = write(tmp_path_factory.mktemp("file"), "a,b\n" + "\n".join(lines) + "\n")
    assert read(path).frame.rows() == rows


def test_a_csv_file_is_read_as_texts_and_its_gaps_as_null(tmp_path: Path) -> None:
    content = "a,b\n1,x\n" + "".join(f"{missing},y\n" for missing in MISSING)
    frame = read(write(tmp_path, content)).frame
    assert frame.dtypes == [pl.String, pl.String]
    assert frame["a"].to_list() == ["1"] + [None] * len(MISSING)


def test_the_texts_that_mean_no_value_are_chosen_and_located(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,b\n?,NA\nx,?\n-,""\n?,y\n')
    frame, marks = read(path)
    assert frame.rows() == [(None, None), ("x", None), ("-", None), (None, "y")]
    assert {text: rows.tolist() for text, rows in marks["a"].items()} == {"?": [0, 3]}
    assert {text: rows.tolist() for text, rows in marks["b"].items()} == {"NA": [0], "?": [1]}
    frame, marks = read(path, ("-",))
    assert frame.rows() == [("?", "NA"), ("x", "?"), (None, None), ("?", "y")]
    assert list(marks["a"]) == ["-"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([1], "row 3"),
        ([5, 0], "rows 2 and 7"),
        ([0, 1, 2], "rows 2, 3 and 4"),
        (range(5), "rows 2, 3, 4 and 2 more"),
    ],
)
def test_rows_are_listed_as_an_editor_numbers_them(rows: list[int], text: str) -> None:
    assert listed(rows) == text


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "T.PARQUET"])
def test_a_parquet_file_keeps_its_types(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "?"]})
    frame.write_parquet(tmp_path / name)
    assert read(tmp_path / name).frame.equals(frame)


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    assert read(write(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n")).frame.columns == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n1,2,3\n", ", row 3: the header has 2 fields, this row 3; a text with a comma"),
        ("a,b\n1,2\n\n1\n", ", row 4: the header has 2 fields, this row 1$"),
        ("a;b\n1;2\n", "row 1: one column, 'a;b'; separate the fields by commas, not semicolons"),
        ("a\tb\n1\t2\n", "separate the fields by commas, not tabs"),
        ("a|b\n1|2\n", "separate the fields by commas, not bars"),
        ("a,b,a\n1,2,3\n", "row 1: two columns are called 'a'; rename one"),
        (b"a\n\xff\xfe\n", "row 2: the encoding is not UTF-8"),
        (b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"), "the encoding is UTF-16; save it as UTF-8"),
    ],
    ids=str,
)
def test_the_error_names_the_fault_of_a_csv_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read(write(tmp_path, content))


def test_one_column_without_separators_is_fine(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a\n1\n2\n")).frame.columns == ["a"]


def test_a_name_like_that_of_a_duplicate_is_accepted_alone(tmp_path: Path) -> None:
    assert read(write(tmp_path, "b_duplicated_0,c\n1,2\n")).frame.columns == ["b_duplicated_0", "c"]


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(TableError, match=rf"{name}: No such file"):
        read(tmp_path / name)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.parquet: "):
        read(write(tmp_path, "a,b\n1,2\n", "t.parquet"))


def test_a_file_of_another_digest_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n")
    assert len(read(path, sha256=hashlib.sha256(b"a\n1\n").hexdigest()).frame) == 1
    with pytest.raises(TableError, match=r"t\.csv has changed since the run was started"):
        read(path, sha256=hashlib.sha256(b"").hexdigest())


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,\n?,2\n"))
    assert read(path).frame.rows() == [("1", None), (None, "2")]
