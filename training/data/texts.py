"""Turns a text file, or a column of texts, into a data set for a language model: predict the next token.

A file is one text, and its last shares are the validation and test parts. Each row of a column is a text of
its own; rows are drawn for the parts. Knows no network.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.config import Recipe, Table
from training.data import tokens
from training.data.columns import find, texts_of
from training.data.dataset import DataSet, Input, Sequence, Split, drawn, each_step
from training.data.file import MISSING, TableError, listed, read, read_bytes
from training.data.summary import ColumnSummary

SUFFIXES = (".txt", ".text", ".md")  # of files that are one text
VOCABULARY = 1000  # words or sub-words
FEWEST_ROWS = 3
FEWEST = 100  # tokens of a part: fewer say nothing
TRAIN_STEPS, TEST_STEPS = 128, 2000  # of the windows that long texts are cut into
MOST_NEW = 5  # characters that a note shows
OF_TABLES = (
    *("id_column", "time_column", "time_format", "time_zone", "duplicates", "horizons", "season", "ignore"),
    *("quantiles", "categorical", "split_by", "split_column", "group_column", "test_from", "folds"),
)  # what texts have no use for

# That of the data set `moby` with half the width and an early stop: a book or less, on a laptop.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=128,
        embedding=32,
        epochs=10,
        patience=2,
        batch_size=32,
        learning_rate=4e-3,
        dropout=0.1,
        clip=1,
    ),
}


class Texts(NamedTuple):
    """The texts of each part, and notes about rows that are left out."""

    train: list[str]
    validation: list[str]
    test: list[str]
    notes: list[str]


def interpret(table: Table, test_data: Path | None = None) -> tuple[DataSet, list[ColumnSummary], list[str]]:
    """The data set, a summary of the texts, and notes. Raises TableError, also if a file has changed.

    `test_data`: a file of the same kind, all of which replaces the test part.
    """
    _check(table)
    texts = _read(table, Path(table.path), table.sha256)
    second = test_data or (Path(table.test_data) if table.test_data else None)
    if second is not None:
        if is_text(second) != is_text(Path(table.path)):
            raise TableError(f"{second} is not of the kind of {table.path}: both are texts, or both tables")
        other = _read(table, second, None if test_data else table.test_sha256)
        texts = texts._replace(test=[*other.train, *other.validation, *other.test])
    input_ = _learn(table, texts)
    train, validation, test = (tokens.read_all(input_, part) for part in texts[:3])
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        count = sum(max(0, len(one) - 1) for one in part)
        if count < FEWEST:
            raise TableError(
                f"{table.path}: the {name} part has {count} tokens to predict; at least {FEWEST} are needed"
            )
    data = data_set(
        texts,
        (train, validation, test),
        input_,
        name=Path(table.path).stem,
        title=Path(table.path).name,
        citation="A text of one's own",
        license="unstated",
    )
    kind = table.tokens or "characters"
    length = f"{sum(len(text) for part in texts[:3] for text in part):,} characters"
    name = table.targets[0] if table.targets else Path(table.path).name
    summary = ColumnSummary(name, f"text, {len(input_.vocabulary)} different {kind}", 0, length)
    return data, [summary], texts.notes


def data_set(
    texts: Texts,
    ids: tuple[tuple[Sequence, ...], ...],
    input_: Input,
    *,
    name: str,
    title: str,
    citation: str,
    license: str,
) -> DataSet:
    """Texts as a data set; `ids`: the tokens of the input, of the texts of each part."""
    train, validation, test = ids
    return DataSet(
        name=name,
        title=title,
        citation=citation,
        license=license,
        inputs=(input_,),
        labels=input_.vocabulary,
        train=replace(_windows(train, TRAIN_STEPS), series=_windows(train, max(map(len, train)))),
        validation=_windows(validation, TEST_STEPS),
        test=_windows(test, TEST_STEPS),
        task="language",
        token_length=sum(map(len, texts.test)) / sum(map(len, test)),
    )


def is_text(path: Path) -> bool:
    """Whether a file is one text, by its name."""
    return path.suffix.lower() in SUFFIXES


def _check(table: Table) -> None:
    for name in OF_TABLES:
        if getattr(table, name) != Table.model_fields[name].default:
            flag = {"horizons": "horizon", "quantiles": "quantile"}.get(name, name).replace("_", "-")
            raise TableError(f"--{flag} is for tables of steps: it would change nothing for texts")
    if is_text(Path(table.path)) and table.targets:
        raise TableError(f"{table.path} is one text: --target names the column of a table")
    if not is_text(Path(table.path)) and len(table.targets) != 1:
        raise TableError(f"{table.path}: --target names the one column of texts")


def _read(table: Table, path: Path, sha256: str | None) -> Texts:
    if is_text(path):
        return _parts_of_one(_text(path, sha256), table.test)
    frame = read(path, MISSING if table.missing is None else table.missing, sha256=sha256).frame
    column = texts_of(find(frame, table.targets[0], "--target"))
    empty = column.is_null().arg_true().to_numpy()
    notes = [f"{listed(empty)}, column {column.name!r}: no text: left out"] if len(empty) else []
    return dealt(column.drop_nulls().to_list(), table.test, notes)


def _text(path: Path, sha256: str | None) -> str:
    content = read_bytes(path, sha256)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}, byte {error.start}: the encoding is not UTF-8; save it as UTF-8"
        ) from error


def _parts_of_one(text: str, share: float) -> Texts:
    first, second = int((1 - 2 * share) * len(text)), int((1 - share) * len(text))
    return Texts([text[:first]], [text[first:second]], [text[second:]], [])


def dealt(rows: list[str], share: float, notes: list[str]) -> Texts:
    """Whole texts, drawn for the parts at random, always alike. Raises TableError, if there are too few."""
    if len(rows) < FEWEST_ROWS:
        raise TableError(f"{len(rows)} texts: at least {FEWEST_ROWS} are needed, one for each part")
    is_test = drawn(np.zeros(len(rows), np.int64), share=share, seed=0)
    rest = list(compress(rows, ~is_test))
    is_validation = drawn(np.zeros(len(rest), np.int64), share=share, seed=0)
    return Texts(
        list(compress(rest, ~is_validation)),
        list(compress(rest, is_validation)),
        list(compress(rows, is_test)),
        notes,
    )


def _learn(table: Table, texts: Texts) -> Input:
    """Words or sub-words of the training part, or the characters of all parts: any others are refused."""
    size = table.vocabulary or VOCABULARY
    if table.tokens == "words":
        return tokens.learn_words(texts.train, size=size)
    if table.tokens == "subwords":
        return tokens.learn_bpe(texts.train, size=size)
    if table.vocabulary:
        raise TableError("--vocabulary is for --tokens words or subwords: characters are those of the text")
    known = set().union(*texts.train)
    new = sorted(set().union(*texts.validation, *texts.test) - known)
    if new:
        shown = ", ".join(map(repr, new[:MOST_NEW])) + (" …" if len(new) > MOST_NEW else "")
        texts.notes.append(
            f"{len(new)} characters are not in the training part, and are not learned: {shown}"
        )
    return tokens.learn_characters([*texts.train, *texts.validation, *texts.test])


def _windows(sequences: tuple[Sequence, ...], steps: int) -> Split:
    """Windows of each text, each step with the token after it; a text of one token has none."""
    pieces, targets = [], []
    for ids in sequences:
        for start in range(0, len(ids) - 1, steps):
            piece = ids[start : start + steps + 1]
            pieces.append(np.ascontiguousarray(piece[:-1]))
            targets.append(piece[1:, 0].astype(np.int64))
    return Split(tuple(pieces), each_step(targets))
