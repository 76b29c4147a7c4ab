"""docs/lstm.md and docs/cells.md quote the code of the cells as it is."""

import re
from pathlib import Path

import pytest

from training import cells

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"`(training/cells/[\w<>]+\.py)`")
QUOTE = re.compile(r"`([^`]+)`")


def rows_of(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line below the header."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]


def quotes(page: str) -> list[tuple[str, str]]:
    """(file, code) for every quote in a column whose header names a file of the cells."""
    pairs = []
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        header, *rows = rows_of(table)
        for column, title in enumerate(header):
            if (file := FILE.search(title)) is None:
                continue
            for row in rows:
                name = file[1].replace("<cell>", row[0].strip("`"))
                pairs += [(name, code) for code in QUOTE.findall(row[column])]
    return pairs


PAGE = "\n".join((ROOT / "docs" / name).read_text() for name in ("lstm.md", "cells.md"))
QUOTES = quotes(PAGE)


@pytest.mark.parametrize(("file", "code"), QUOTES, ids=[f"{file}: {code}" for file, code in QUOTES])
def test_every_quote_is_in_its_file(file: str, code: str) -> None:
    source = " ".join((ROOT / file).read_text().split())
    assert code in source


def test_every_cell_is_quoted_and_described() -> None:
    assert {Path(file).stem for file, _ in QUOTES} == set(cells.names())
    [table] = [
        table for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE) if "| description |" in table
    ]
    assert {QUOTE.findall(row[0])[0] for row in rows_of(table)[1:]} == set(cells.names())


def test_a_quote_that_the_code_no_longer_has_is_found() -> None:
    page = "| equation | PyTorch, in `training/cells/lstm.py` |\n|---|---|\n| c | `c = forget_gate` |\n"
    assert quotes(page) == [("training/cells/lstm.py", "c = forget_gate")]
