"""Which labels each row has: what is read, noted and refused, whatever the order of the columns."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import Table
from training.data.dataset import DataSet
from training.data.file import TableError
from training.data.table import Interpreted, fingerprint, interpret

SEPARATED: dict[str, Any] = {"targets": ("tags",), "separator": ";"}
COLUMNS = ("rain", "wind", "fog")


def read(path: Path, frame: pl.DataFrame, **fields: Any) -> Interpreted:
    frame.write_csv(path)
    defaults = {"targets": COLUMNS, "task": "multilabel", "id_column": "id"}
    return interpret(Table(**{"path": str(path), "sha256": fingerprint(path)} | defaults | fields))


def sequences(count: int = 20, *, steps: int = 3) -> pl.DataFrame:
    """Each sequence has its labels in all rows."""
    rng = np.random.default_rng(0)
    flags = {
        name: [int(number // 2**place % 2) for number in range(count)] for place, name in enumerate(COLUMNS)
    }
    rows: dict[str, Any] = {"id": [f"s{number}" for number in range(count) for _ in range(steps)]}
    rows["x"] = rng.standard_normal(count * steps).round(3)
    for name, values in flags.items():
        rows[name] = np.repeat(values, steps)
    return pl.DataFrame(rows)


def tagged(frame: pl.DataFrame, separator: str = ";") -> pl.DataFrame:
    """The same with one column of texts."""
    texts = [
        separator.join(name for name in COLUMNS if row[name])
        for row in frame.select(COLUMNS).iter_rows(named=True)
    ]
    return frame.drop(COLUMNS).with_columns(tags=pl.Series(texts))


def changed(frame: pl.DataFrame, name: str, *changes: tuple[int, Any]) -> pl.DataFrame:
    values = frame[name].cast(pl.String).to_list()
    for row, value in changes:
        values[row] = value
    return frame.with_columns(pl.Series(name, values))


def truth(data: DataSet) -> dict[bytes, dict[str, float]]:
    """The labels of each sequence by name, whatever the part."""
    assert data.validation is not None
    return {
        sequence.tobytes(): dict(zip(data.labels, np.atleast_2d(target)[-1].tolist(), strict=True))
        for part in (data.train, data.validation, data.test)
        for sequence, target in zip(part.sequences, part.targets, strict=True)
    }


def test_columns_and_texts_give_the_same_labels(tmp_path: Path) -> None:
    columns = read(tmp_path / "t.csv", sequences())
    texts = read(tmp_path / "t.csv", tagged(sequences()), **SEPARATED)
    for found in (columns, texts):
        assert (found.data.task, found.data.labels, found.data.is_whole) == (
            "multilabel",
            ("fog", "rain", "wind"),
            True,
        )
        assert found.data.inputs[0].features == ("x",), "labels are no inputs"
    assert truth(columns.data) == truth(texts.data)
    roles = {column.name: column.role for column in (*columns.columns, *texts.columns)}
    assert roles["rain"] == "target, label, 0 or 1" and roles["tags"] == "target, labels separated by ';'"
    described = texts.data.table
    assert described is not None and described.labels is not None
    assert described.labels.model_dump() == {"of": "sequence", "separator": ";", "empty": "none"}
    assert described.unused == ("tags",)


@given(st.permutations(COLUMNS), st.permutations(COLUMNS), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_no_order_changes_a_label(
    tmp_path_factory: pytest.TempPathFactory, asked: list[str], written: list[str], random: Any
) -> None:
    """Neither that of options, of columns, nor of the labels in a text."""
    folder = tmp_path_factory.mktemp("orders")
    frame = sequences()
    expected = read(folder / "t.csv", frame).data
    moved = read(folder / "t.csv", frame.select("id", "x", *written), targets=tuple(asked)).data
    texts = [";".join(random.sample(text.split(";"), len(text.split(";")))) for text in tagged(frame)["tags"]]
    shuffled = tagged(frame).with_columns(tags=pl.Series(texts))
    mixed = read(folder / "t.csv", shuffled, **SEPARATED).data
    for other in (moved, mixed):
        assert other.labels == expected.labels
        assert all(
            (a == b).all() for a, b in zip(other.train.sequences, expected.train.sequences, strict=True)
        )
        assert (other.train.targets == expected.train.targets).all()


def test_labels_that_change_are_those_of_each_step(tmp_path: Path) -> None:
    frame = changed(sequences(), "rain", *((row, str(row % 2)) for row in range(60)))
    found = read(tmp_path / "t.csv", frame)
    assert not found.data.is_whole and found.notes == []
    with pytest.raises(TableError, match=r"the labels differ .* --labels-of step"):
        read(tmp_path / "t.csv", frame, labels_of="sequence")
    assert not read(tmp_path / "t.csv", sequences(), labels_of="step").data.is_whole


def test_a_few_changes_may_be_mistakes(tmp_path: Path) -> None:
    found = read(tmp_path / "t.csv", changed(sequences(), "fog", (1, "1")))
    assert found.notes == [
        "the labels change within 1 of 20 sequences (row 3), so those of each step are predicted; "
        "--labels-of sequence refuses such rows"
    ]


@pytest.mark.parametrize("pair", [("no", "yes"), ("FALSE", "True"), ("0.0", "1.0"), (" 0", "1")])
def test_yes_true_and_one_are_the_same(tmp_path: Path, pair: tuple[str, str]) -> None:
    frame = sequences()
    written = frame.with_columns(pl.Series("rain", [pair[value] for value in frame["rain"]]))
    assert truth(read(tmp_path / "t.csv", written).data) == truth(read(tmp_path / "t.csv", frame).data)


def test_a_missing_label_is_unknown_and_noted(tmp_path: Path) -> None:
    frame = changed(sequences(), "wind", *((row, None) for row in range(4)))
    found = read(tmp_path / "t.csv", frame)
    assert found.notes == [
        "column 'wind': rows 2, 3, 4 and 1 more without a value: the label is unknown there, neither learnt "
        "nor scored"
    ]
    unknown = [row for row in truth(found.data).values() if np.isnan(row["wind"])]
    assert len(unknown) == 1, "the second sequence has its label in another row"


@pytest.mark.parametrize("empty", ["none", "unknown"])
def test_an_empty_field_has_no_label_or_is_unknown(tmp_path: Path, empty: str) -> None:
    found = read(tmp_path / "t.csv", tagged(sequences()), empty_labels=empty, **SEPARATED)
    [note] = found.notes
    assert note.startswith("column 'tags': rows 2, 3, 4 and 6 more without a label")
    assert ("--empty-labels unknown" in note) == (empty == "none")
    rows = [list(row.values()) for row in truth(found.data).values()]
    assert sum(np.isnan(row).all() for row in rows) == (3 if empty == "unknown" else 0)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("rain;rain", "'rain;rain' in row 5 repeats a label, which counts once"),
        ("rain;;wind", "'rain;;wind' in row 5 has no label before, after or between its ';'"),
        ("rain;", "'rain;' in row 5 has no label before"),
        ("rain;Wind", "'Wind' and 'wind' are different labels; correct the file if not"),
        ("rain;wind,fog", "the label 'wind,fog' has ',' in it, and is one label"),
    ],
)
def test_a_doubtful_text_is_noted(tmp_path: Path, text: str, note: str) -> None:
    frame = changed(tagged(sequences(steps=1)), "tags", (3, text), (0, "fog"))
    assert any(note in each for each in read(tmp_path / "t.csv", frame, **SEPARATED).notes)


def test_a_label_that_is_always_or_never_true_in_training_is_noted(tmp_path: Path) -> None:
    frame = sequences(steps=1).with_columns(
        part=pl.Series(["train"] * 12 + ["validation"] * 4 + ["test"] * 4),
        rain=pl.Series([1] * 12 + [0] * 8),
        wind=pl.Series([0] * 12 + [1] * 8),
    )
    notes = read(tmp_path / "t.csv", frame, split_column="part").notes
    assert notes == [
        "the label 'rain' is always true in the training part: nothing is learnt, it is always predicted",
        "the label 'wind' is never true in the training part: nothing is learnt, it is never predicted",
    ]
    hidden = changed(frame, "fog", *((row, None) for row in range(12)))
    with pytest.raises(TableError, match="label 'fog': the training part has no row"):
        read(tmp_path / "t.csv", hidden, split_column="part")


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ([(1, "yes")], {}, "row 3, column 'rain': 'yes', but row 2 has '0'; write all as 0 and 1"),
        ([(2, "2")], {}, "row 4, column 'rain': '2', but row 2 has '0'"),
        ([(0, "much"), (1, "much")], {}, "row 2, column 'rain': 'much' is neither 0 nor 1"),
        ([(0, "a;b"), (1, "a")], {}, "'a;b' is neither 0 nor 1; --separator ';' reads several labels"),
        (
            [(row, "1") for row in range(60)],
            {},
            "label 'rain' is true in every row: .* leave out --target rain",
        ),
        ([(row, None) for row in range(60)], {}, "label 'rain' has no value in any row"),
        ([], {"targets": ("rain",)}, "column 'rain' is one label, which --task classify or label predicts"),
        ([], {"separator": ";"}, "--separator is for one target column, not for rain, wind, fog"),
        ([], {"targets": ("rain",), "separator": ";"}, "column 'rain': no row has several labels"),
        ([], {"empty_labels": "unknown"}, "--empty-labels requires --separator"),
        (
            [],
            {"task": "forecast", "labels_of": "step"},
            "--labels-of is for several labels: --task multilabel",
        ),
        ([], {"task": None}, "rain, wind, fog never change .*, and are 0 or 1: --task multilabel"),
        ([], {"task": "label"}, "several targets are possible .* with --task multilabel"),
    ],
)
def test_what_is_no_label_is_refused(
    tmp_path: Path, changes: list[tuple[int, Any]], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        read(tmp_path / "t.csv", changed(sequences(), "rain", *changes), **fields)


def test_another_separator_is_proposed(tmp_path: Path) -> None:
    frame = changed(tagged(sequences(), "|"), "tags", (0, "fog"))
    with pytest.raises(
        TableError, match=r"no row has several labels separated by ';'; is the separator '\|'\?"
    ):
        read(tmp_path / "t.csv", frame, **SEPARATED)
    notes = read(tmp_path / "t.csv", frame, targets=("tags",), task="label").notes
    assert any("is read as one class; --separator '|' reads several labels" in note for note in notes)


def test_flags_to_forecast_may_be_labels(tmp_path: Path) -> None:
    frame = changed(sequences(steps=8), "rain", *((row, str(row // 3 % 2)) for row in range(160)))
    frame = changed(frame, "wind", *((row, str(row // 2 % 2)) for row in range(160)))
    notes = read(tmp_path / "t.csv", frame, targets=("rain", "wind"), task=None, ignore=("fog",)).notes
    assert sum("--task multilabel predicts them as labels" in note for note in notes) == 2


def test_a_second_file_is_read_alike_or_refused(tmp_path: Path) -> None:
    texts, second = tagged(sequences()), tmp_path / "second.csv"
    changed(texts, "tags", *((row, "rain;wind") for row in range(6))).write_csv(second)
    found = read(
        tmp_path / "t.csv", texts, test_data=str(second), test_sha256=fingerprint(second), **SEPARATED
    )
    assert len(found.data.test) == 20 and found.data.test.targets[0].tolist() == [0, 1, 1]
    changed(texts, "tags", *((row, "snow") for row in range(3))).write_csv(second)
    with pytest.raises(TableError, match=r"second.csv: column 'tags' has the label 'snow', which .* has not"):
        read(tmp_path / "t.csv", texts, test_data=str(second), test_sha256=fingerprint(second), **SEPARATED)
    flags = sequences()
    flags.with_columns(pl.Series("rain", [("no", "yes")[value] for value in flags["rain"]])).write_csv(second)
    with pytest.raises(TableError, match="'rain' is a label, no or yes, but a label, 0 or 1 in"):
        read(tmp_path / "t.csv", flags, test_data=str(second), test_sha256=fingerprint(second))
