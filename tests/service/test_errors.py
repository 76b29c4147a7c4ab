"""Every code that a client can meet stands in docs/http-api.md, beside its status, and no other does."""

import re
from collections.abc import Iterator
from pathlib import Path

from service import errors
from service.errors import CellgateError, CorruptRecord, InvalidField, NotFound

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"
NEVER_SENT = {"startup"}
NGINX = {(502, "replica_lost"), (504, "replica_silent")}  # sent by nginx, in the place of a replica


def raised(kind: type[CellgateError] = CellgateError) -> Iterator[type[CellgateError]]:
    """The classes that are raised: those without any below them, and two that are raised themselves."""
    below = kind.__subclasses__()
    if not below or kind in (InvalidField, NotFound):
        yield kind
    for narrower in below:
        yield from raised(narrower)


def documented() -> set[tuple[int, str]]:
    """Status and code of each row of the table of errors; what is in brackets are members."""
    table = DOCUMENT.read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", table, re.MULTILINE)
    return {
        (int(status), code)
        for status, told in rows
        for code in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", told))
    }


def test_the_table_of_errors_has_every_code_and_no_other() -> None:
    sent = {(kind.status, kind.code) for kind in raised() if kind.code not in NEVER_SENT}
    assert documented() == sent | NGINX


def test_each_cause_has_a_code_of_its_own() -> None:
    kinds = list(raised())
    assert CorruptRecord in kinds
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_the_tree_is_drawn_whole() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert {kind.__name__ for kind in raised() if kind.__module__ == errors.__name__} <= drawn
