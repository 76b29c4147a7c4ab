"""Answers as rows of a table: named columns, errors in their place, Parquet joined from its files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.errors import StartupError
from service.manifest import OutputSpec
from service.offline.block import Answer, Keys
from service.offline.table_answers import ParquetMedium, TableEncoder, names_of

CLASSES = OutputSpec(name="y", kind="probabilities", dims=(2,), labels=("no", "yes"))
PROBLEM = {"code": "non_finite", "detail": "too large", "pointer": "/steps/0/1"}


def test_a_row_each_with_errors_in_their_place() -> None:
    encoder = TableEncoder(is_parquet=False, keep_all=False)
    answers: list[Answer] = [np.array([0.25, 0.75], np.float32), PROBLEM]
    text = encoder.head(CLASSES, "call") + encoder.encode(CLASSES, Keys("call", ["a", "b"], True), answers)
    assert text.decode().splitlines() == [
        "call,label,probability,output_no,output_yes,error_code,error",
        "a,yes,0.75,0.25,0.75,,",
        "b,,,,,non_finite,/steps/0/1: too large",
    ]


@pytest.mark.parametrize("is_parquet", [False, True])
def test_answers_in_one_array_give_the_rows_of_each(is_parquet: bool) -> None:
    encoder = TableEncoder(is_parquet=is_parquet, keep_all=False)
    together = np.array([[0.25, 0.75], [0.5, np.nan], [0.5, 0.5]], np.float32)
    keys = Keys("call", ["a", "b", "c"], True)
    assert encoder.encode(CLASSES, keys, together) == encoder.encode(CLASSES, keys, list(together))


def test_a_row_for_each_step() -> None:
    spec = OutputSpec.model_validate(
        {
            "name": "y",
            "dims": [2],
            "forecasts": [
                {"feature": "t", "steps": 6, "quantile": 0.05},
                {"feature": "t", "steps": 6, "quantile": 0.5},
            ],
        }
    )
    encoder = TableEncoder(is_parquet=False, keep_all=True)
    answers: list[Answer] = [np.array([[1, 2], [3, 4]], np.float32), PROBLEM]
    text = encoder.head(spec, "id") + encoder.encode(spec, Keys("id", [7, None]), answers)
    assert text.decode().splitlines() == [
        "id,step,t+6_q5,t+6_q50,error_code,error",
        "7,1,1.0,2.0,,",
        "7,2,3.0,4.0,,",
        ",,,,non_finite,/steps/0/1: too large",
    ]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (OutputSpec(name="y"), ["output"]),
        (OutputSpec(name="y", dims=(2, 2)), ["output_0_0", "output_0_1", "output_1_0", "output_1_1"]),
    ],
    ids=["number", "matrix"],
)
def test_numbers_without_names_have_their_place(spec: OutputSpec, names: list[str]) -> None:
    assert names_of(spec) == names


def test_parquet_is_joined_in_order_from_what_the_journal_counts(tmp_path: Path) -> None:
    encoder = TableEncoder(is_parquet=True, keep_all=False)
    medium = ParquetMedium(tmp_path / "out.parquet.part")
    medium.cut(0)
    for key in ("a", "b", "lost"):
        answers = [np.array([0.5, 0.5], np.float32)]
        medium.append(encoder.encode(CLASSES, Keys("call", [key], True), answers))
    again = ParquetMedium(tmp_path / "out.parquet.part")
    again.cut(2)
    again.append(encoder.encode(CLASSES, Keys("call", ["c"], True), [PROBLEM]))
    again.finish(tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame["call"].to_list() == ["a", "b", "c"]
    assert (
        frame["label"].to_list() == ["no", "no", None] and frame["error_code"].to_list()[-1] == "non_finite"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_folder_that_no_run_wrote_is_left_as_it_is(tmp_path: Path) -> None:
    (mine := tmp_path / "out.parquet.part" / "sales.parquet").parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(StartupError, match=r"holds 'sales\.parquet', which no run wrote"):
        ParquetMedium(mine.parent).cut(0)
    assert mine.read_text() == "mine"
