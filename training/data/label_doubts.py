"""Notes about doubtful labels of a table, with the rows and the option that settles them. Reads no file."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.columns import Column
from training.data.file import TableError, listed

SEPARATORS = ";|,"  # that a column of several labels may have


def are_flags(targets: list[Column]) -> bool:
    """Whether there are several targets, all of 0 and 1 alone."""
    return len(targets) > 1 and all(
        target.kind == "number" and target.values.drop_nulls().is_in([0.0, 1.0]).all() for target in targets
    )


def separator_in(texts: pl.Series) -> tuple[str, NDArray[np.int64]] | None:
    """The separator that a column of texts seems to have, and its rows; None: none.

    Some part must also occur in another text: "Rome, Italy" alone is one text.
    """
    known = texts.drop_nulls().unique().to_list()
    for mark in SEPARATORS:
        several = [text for text in known if mark in text.strip(f"{mark} ")]
        parts = [part.strip() for text in known for part in set(text.split(mark)) if part.strip()]
        if several and len(set(parts)) < len(parts):
            rows = texts.is_in(several).fill_null(value=False).arg_true().to_numpy().astype(np.int64)
            return mark, rows
    return None


def parts_of(text: str, separator: str) -> list[str]:
    """The labels in a text, in its order."""
    return [part for part in (part.strip() for part in text.split(separator)) if part]


def never_learnt(
    names: Sequence[str], values: NDArray[np.float32], in_training: NDArray[np.bool_]
) -> list[str]:
    """Notes about labels that are never, or always, true in the training part.

    `values`: [rows, labels]. Raises TableError for a label that is not known there.
    """
    notes = []
    for name, column in zip(names, values[in_training].T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            raise TableError(f"label {name!r}: the training part has no row for which it is known")
        if (known == known[0]).all():
            when, then = ("always", "always predicted") if known[0] else ("never", "never predicted")
            notes.append(
                f"the label {name!r} is {when} true in the training part: nothing is learnt, it is {then}"
            )
    return notes


def in_texts(column: Column, separator: str, empty: str) -> list[str]:
    """Notes about empty fields, repeated labels, and labels that may be the same or several."""
    about = f"column {column.name!r}:"
    notes = [*_empty(column, empty), *_odd(column, separator)]
    by_case: dict[str, list[str]] = {}
    for name in column.categories:
        by_case.setdefault(name.lower(), []).append(name)
    for names in (names for names in by_case.values() if len(names) > 1):
        notes.append(
            f"{about} {' and '.join(map(repr, names))} are different labels; correct the file if not"
        )
    for name in column.categories:
        if mark := next((mark for mark in SEPARATORS if mark in name), None):
            notes.append(f"{about} the label {name!r} has {mark!r} in it, and is one label")
    return notes


def _empty(column: Column, empty: str) -> list[str]:
    """A note about fields without labels."""
    if not column.num_missing:
        return []
    rows = listed(column.values.is_null().arg_true().to_numpy())
    if empty == "none":
        return [
            f"column {column.name!r}: {rows} without a label, read as none of them; --empty-labels unknown "
            "neither learns from them nor scores them"
        ]
    return [f"column {column.name!r}: {rows} without a label, neither learnt nor scored"]


def _odd(column: Column, separator: str) -> list[str]:
    """Notes about texts that repeat a label, or have nothing between two separators."""
    texts, notes = column.values, []
    repeats, gaps = [], []
    for text in texts.drop_nulls().unique(maintain_order=True):
        parts = parts_of(text, separator)
        if len(set(parts)) < len(parts):
            repeats.append(text)
        if len(parts) <= text.count(separator):
            gaps.append(text)
    for found, what in (
        (repeats, "repeats a label, which counts once"),
        (gaps, f"has no label before, after or between its {separator!r}"),
    ):
        if found:
            rows = listed(texts.is_in(found).fill_null(value=False).arg_true().to_numpy())
            notes.append(f"column {column.name!r}: {found[0]!r} in {rows} {what}")
    return notes
