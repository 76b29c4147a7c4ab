"""Interpretations that may be wrong are noted, with the rows and the option that settles them."""

from pathlib import Path

import pytest

from training.config import Table
from training.data.table import fingerprint, interpret


def notes_of(path: Path, text: str, *targets: str, **fields: object) -> list[str]:
    path.write_text(text)
    table = {"path": str(path), "sha256": fingerprint(path), "targets": targets or ("y",)} | fields
    return interpret(Table.model_validate(table)).notes


def column(name: str, values: list[object], ys: int = 7) -> str:
    return f"{name},y\n" + "".join(f"{value},{place % ys}.5\n" for place, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([day % 7 for day in range(100)], "0, 1, 2, 3, … (7)"),
        ([(101, 205, 309)[place % 3] for place in range(100)], "101, 205, 309 (3)"),
        (["2.0", "5.0", "", "7.0"] * 25, "2, 5, 7 (3)"),
    ],
)
def test_few_whole_numbers_may_be_codes(tmp_path: Path, values: list[object], shown: str) -> None:
    """A weekday and the number of a station were quantities without a word."""
    text = column("station", values)
    assert notes_of(tmp_path / "t.csv", text) == [
        f"column 'station' has only the whole numbers {shown}, read as quantities; if they are codes, "
        "--categorical station reads them as such"
    ]
    assert notes_of(tmp_path / "t.csv", text, categorical=("station",)) == []


@pytest.mark.parametrize(
    "values",
    [
        [place % 2 for place in range(100)],
        [place % 7 + 0.5 for place in range(100)],
        [place % 7 - 3 for place in range(100)],
        list(range(100)),
        [place % 30 for place in range(100)],
    ],
    ids=["flags", "fractions", "negative", "all different", "many"],
)
def test_other_numbers_are_quantities(tmp_path: Path, values: list[object]) -> None:
    assert notes_of(tmp_path / "t.csv", column("x", values)) == []


def test_a_target_of_few_whole_numbers_may_be_classes(tmp_path: Path) -> None:
    text = "x,sky\n" + "".join(f"{place / 3:.2f},{place // 12 % 3}\n" for place in range(120))
    assert notes_of(tmp_path / "t.csv", text, "sky") == [
        "column 'sky' has only the whole numbers 0, 1, 2 (3), read as a quantity to forecast; --task label "
        "predicts them as classes"
    ]
    assert notes_of(tmp_path / "t.csv", text, "sky", task="label") == []


def test_a_question_mark_that_may_be_data_is_noted(tmp_path: Path) -> None:
    marks = ["ok", "bad", "?", "ok", "NA", ""] * 20
    [question, na] = notes_of(tmp_path / "t.csv", column("mark", list(marks)))
    assert question == (
        "column 'mark': '?' in rows 4, 10, 16 and 17 more is read as missing; --missing '' reads so only "
        "empty fields"
    )
    assert "'NA' in rows 6, 12, 18 and 17 more" in na
    assert notes_of(tmp_path / "t.csv", column("mark", list(marks)), missing=("",)) == []
    [na] = notes_of(tmp_path / "t.csv", column("mark", list(marks)), missing=("NA",))
    assert "'NA'" in na
    numbers = [["1.5", "2.25", "?"][place % 3] for place in range(100)]
    assert notes_of(tmp_path / "t.csv", column("x", list(numbers))) == [], "a gap among numbers"


def test_kinds_that_are_not_in_the_training_part_are_noted(tmp_path: Path) -> None:
    kinds = ["new" if place in (70, 90) else "ab"[place % 2] for place in range(100)]
    assert notes_of(tmp_path / "t.csv", column("kind", list(kinds))) == [
        "column 'kind': 'new' in rows 72 and 92 only, not in the training part; read as <other>, the mean "
        "of the known ones"
    ]
    text = "x,y\n" + "".join(f"{place / 3:.2f},{kind}\n" for place, kind in enumerate(kinds))
    assert notes_of(tmp_path / "t.csv", text) == [
        "column 'y': the class 'new' is in rows 72 and 92 only, not in the training part: it is never "
        "predicted"
    ]


def test_the_horizons_of_steps_that_are_not_equally_spaced_count_rows(tmp_path: Path) -> None:
    def text(missing: range) -> str:
        hours = [hour for hour in range(120) if hour not in missing]
        return "t,y\n" + "".join(f"2024-05-{1 + h // 24:02}T{h % 24:02}:00,{h % 7}.5\n" for h in hours)

    table = {"time_column": "t", "horizons": (1, 4), "calendar": ("none",)}
    assert notes_of(tmp_path / "t.csv", text(range(0)), **table) == []
    for missing, row in ((range(30, 33), 32), (range(100, 103), 102)):
        assert notes_of(tmp_path / "t.csv", text(missing), **table) == [
            "column 't': the steps are not equally spaced, usually 1 h, with 1 above 1.5 h, at most 4 h "
            f'before row {row}; a horizon counts rows: "+4 steps" is not always 4 h'
        ], "also if the gap is in the test part alone"
