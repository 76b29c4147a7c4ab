"""Static columns of a table: one value in each sequence, an input that is given once."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from training.config import Table
from training.data.file import TableError
from training.data.table import Interpreted, fingerprint, interpret


def rows(**columns: list[Any]) -> dict[str, list[Any]]:
    """Twelve sites of ten steps: `depth` and `region` are constant in each; `columns` replace any."""
    sites = [site for site in range(12) for _ in range(10)]
    made: dict[str, list[Any]] = {
        "site": [f"s{site:02}" for site in sites],
        "depth": [site % 4 + 0.5 for site in sites],
        "region": [("north", "south")[site % 2] for site in sites],
        "y": [float(place * place % 7 + site) for place, site in enumerate(sites)],
    }
    return made | columns


def interpreted(folder: Path, content: dict[str, list[Any]], *static: str, **fields: Any) -> Interpreted:
    path = folder / "t.csv"
    pl.DataFrame(content).write_csv(path)
    fields = {"id_column": "site", "targets": ("y",)} | fields
    return interpret(Table(path=str(path), sha256=fingerprint(path), static=static, **fields))


def test_static_columns_are_inputs_of_the_sequence_behind_those_of_its_steps(tmp_path: Path) -> None:
    data = interpreted(tmp_path, rows(), "depth", "region").data
    assert [(one.name, one.kind, one.per, one.features) for one in data.inputs] == [
        ("numbers", "numeric", "step", ("y",)), ("region", "token", "sequence", ()),
        ("static", "numeric", "sequence", ("depth",)),
    ]  # fmt: skip
    assert data.table is not None
    assert [(one.name, one.input) for one in data.table.columns] == [
        ("depth", "static"), ("region", "region"), ("y", "numbers"),
    ]  # fmt: skip
    for sequence in data.train.sequences:
        assert (sequence[:, 1:] == sequence[0, 1:]).all()


def test_a_column_named_static_keeps_its_name(tmp_path: Path) -> None:
    content = rows()
    content["static"] = content.pop("region")
    data = interpreted(tmp_path, content, "depth", "static").data
    assert [(one.name, one.in_graph) for one in data.inputs[1:]] == [
        ("static", "category_0"), ("static_", "static"),
    ]  # fmt: skip


def test_a_sequence_has_its_value_in_all_rows_and_one_without_has_the_mean(tmp_path: Path) -> None:
    depth: list[float | None] = [float(site + 1) for site in range(12) for _ in range(10)]
    depth[1:10], depth[50:60] = [None] * 9, [None] * 10
    found = interpreted(tmp_path, rows(depth=depth), "depth")
    assert next(note for note in found.notes if "'depth'" in note).startswith(
        "column 'depth': 1 sequences have no value (the first begins in row 52); it is the mean"
    )
    parts = (found.data.train, found.data.validation, found.data.test)
    every = np.concatenate([one[:, -1] for part in parts if part is not None for one in part.sequences])
    values, counts = np.unique(every, return_counts=True)
    assert (counts == 10).all() and {1.0, 2.0, 12.0} <= set(values.tolist())


@pytest.mark.parametrize(
    ("static", "fields", "message"),
    [
        (("y",), {}, "--static 'y' is also a target"),
        (("site",), {}, "--static 'site' is also the id"),
        (("deep",), {}, "--static 'deep': there is no such column .* did you mean 'depth'"),
        (("depth",), {"id_column": None}, "--static needs --id-column"),
        (("depth",), {"ignore": ("depth",)}, "--static 'depth' is also .* ignored"),
        (("depth", "region"), {"task": "regress"}, "no column is left to learn from besides y"),
    ],
)
def test_columns_that_cannot_be_static_are_refused(
    tmp_path: Path, static: tuple[str, ...], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        interpreted(tmp_path, rows(), *static, **fields)


def test_a_static_column_that_changes_is_refused_with_both_rows(tmp_path: Path) -> None:
    depth = [site + 0.5 for site in range(12) for _ in range(10)]
    depth[14] = 9.0
    with pytest.raises(TableError, match=r"row 16, column 'depth': 9\.0, but 1\.5 in row 12 of its sequence"):
        interpreted(tmp_path, rows(depth=depth), "depth")


def test_columns_that_never_change_are_proposed(tmp_path: Path) -> None:
    [note] = [note for note in interpreted(tmp_path, rows()).notes if "--static" in note]
    assert note.startswith("columns ['depth', 'region'] never change within a sequence: with --static depth ")
    assert "--static" not in " ".join(interpreted(tmp_path, rows(), "depth", "region").notes)
