"""Texts of the user's own become a data set: every token is the target of the one before it."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from training.config import Table
from training.data import table as tables
from training.data import tokens
from training.data.dataset import DataSet, Split
from training.data.file import TableError

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "another", "dog", "ran", "over", "green", "hills"]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def some_text(count: int, seed: str = "0") -> str:
    rng = Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(count))


def interpreted(path: Path, **fields: object) -> tables.Interpreted:
    table = {"path": str(path), "sha256": tables.fingerprint(path), "targets": (), "task": "language"}
    return tables.interpret(Table.model_validate(table | fields))


def text_of(data: DataSet, split: Split) -> str:
    """The text of a part, put together again from its steps and their targets."""
    names = data.labels
    pieces = [
        names[int(one[0, 0])] + "".join(names[target] for target in targets)
        for one, targets in zip(split.sequences, split.targets, strict=True)
    ]
    return pieces[0] + "".join(piece[1:] for piece in pieces[1:])  # a window begins with the last target


def test_each_character_is_the_target_of_the_one_before(tmp_path: Path) -> None:
    text = some_text(600)
    data = interpreted(written(tmp_path / "book.txt", text)).data
    assert data.validation is not None
    parts = [text_of(data, split) for split in (data.train, data.validation, data.test)]
    assert "".join(parts) == text
    assert (data.task, data.name, data.token_length) == ("language", "book", 1.0)
    for split in (data.train, data.test):
        for one, targets in zip(split.sequences, split.targets, strict=True):
            np.testing.assert_array_equal(one[1:, 0], targets[:-1])


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_words_and_subwords_are_learned_from_the_training_part(tmp_path: Path, kind: str) -> None:
    text = some_text(3000) + " " + "unheard " * 500
    data = interpreted(written(tmp_path / "book.txt", text), tokens=kind, vocabulary=300).data
    assert len(data.labels) <= 300 and "unheard" not in data.labels
    (input_,) = data.inputs
    ids = tokens.read(input_, "the cat")
    shown = [data.labels[int(row)] for row in ids[:, 0]]
    assert shown == ["the", "cat"] if kind == "words" else "".join(shown) == "the\u0120cat"  # a space in BPE


def test_each_row_of_a_column_is_a_text_in_one_part(tmp_path: Path) -> None:
    rows = [some_text(30, f"{row}") for row in range(40)]
    path = written(
        tmp_path / "notes.csv",
        "id,note\n" + "\n".join(f"{n},{row}" for n, row in enumerate(rows)) + "\n99,\n",
    )
    found = interpreted(path, targets=("note",))
    data = found.data
    assert found.notes == ["row 42, column 'note': no text: left out"]
    assert data.validation is not None
    shown = [
        data.labels[int(one[0, 0])] + "".join(data.labels[target] for target in targets)
        for split in (data.train, data.validation, data.test)
        for one, targets in zip(split.sequences, split.targets, strict=True)
        if len(one) < 127
    ]
    assert set(shown) <= {row[start:] for row in rows for start in range(0, len(row), 128)}
    assert len(data.test) >= 8


def test_characters_that_are_not_learned_are_noted(tmp_path: Path) -> None:
    found = interpreted(written(tmp_path / "book.txt", some_text(600) + " ÄÖÜ"))
    assert found.notes == ["3 characters are not in the training part, and are not learned: 'Ä', 'Ö', 'Ü'"]
    assert set("ÄÖÜ") <= set(found.data.labels)


def test_another_file_replaces_the_test_part(tmp_path: Path) -> None:
    other = written(tmp_path / "other.txt", some_text(200, "other"))
    book = written(tmp_path / "book.txt", some_text(600))
    fields = {"test_data": str(other), "test_sha256": tables.fingerprint(other)}
    whole, with_other = interpreted(book).data, interpreted(book, **fields).data
    assert text_of(with_other, with_other.test)[:50] == other.read_text()[:50]
    assert with_other.labels == whole.labels
    np.testing.assert_array_equal(with_other.train.sequences[0], whole.train.sequences[0])


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.txt", "short", {}, "the training part has 2 tokens to predict; at least 100 are needed"),
        (
            "a.csv",
            "x,y\n" + "word,1\n" * 900,
            {"targets": ("x",), "tokens": "words"},
            "has 0 tokens to predict",
        ),
        ("a.txt", b"caf\xe9 " * 500, {}, "byte 3: the encoding is not UTF-8; save it as UTF-8"),
        ("a.txt", some_text(600), {"targets": ("x",)}, "is one text: --target names the column of a table"),
        ("a.txt", some_text(600), {"vocabulary": 50}, "--vocabulary is for --tokens words or subwords"),
        ("a.txt", some_text(600), {"folds": 5}, "--folds is for tables of steps"),
        ("a.csv", "x,y\na,b\n", {"targets": ("x",), "group_column": "y"}, "--group-column is for tables"),
        ("a.txt", some_text(600), {"horizons": (4,)}, "--horizon is for tables of steps"),
        ("a.csv", "x,y\na,b\n", {}, "--target names the one column of texts"),
        ("a.csv", "x,y\na,b\n", {"targets": ("z",)}, "--target 'z': there is no such column among x, y"),
        ("a.csv", "x,y\na,b\n", {"targets": ("x",)}, "1 texts: at least 3 are needed"),
        ("a.csv", "x,y\na,b\n", {"targets": ("x",), "task": "label", "tokens": "words"}, "--task language"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    tmp_path: Path, name: str, content: str | bytes, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(TableError) as error:
        interpreted(written(tmp_path / name, content), **fields)
    assert message in str(error.value)


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has changed since the run was started"):
        interpreted(written(tmp_path / "book.txt", some_text(600)), sha256="0" * 64)


def test_the_test_data_of_a_text_are_no_table(tmp_path: Path) -> None:
    book, notes = written(tmp_path / "book.txt", some_text(900)), written(tmp_path / "notes.csv", "note\na\n")
    with pytest.raises(TableError, match=r"notes\.csv is not of the kind of .*book\.txt"):
        interpreted(book, test_data=str(notes), test_sha256=tables.fingerprint(notes))
