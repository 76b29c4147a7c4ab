"""The tree of errors: documented whole in docs/http-api.md, with what the gate and the documentation need."""

import re
from collections.abc import Iterator
from pathlib import Path

from service import errors
from service.errors import (
    MAX_CHARACTERS,
    CellgateError,
    CorruptRecord,
    InternalError,
    InvalidField,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RateLimited,
    SessionConflict,
    Unauthorized,
    WrongShape,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "http-api.md"
NEVER_SENT = {"startup"}
NGINX = {(502, "replica_lost"), (504, "replica_silent")}  # sent by nginx, in the place of a replica


def raised(kind: type[CellgateError] = CellgateError) -> Iterator[type[CellgateError]]:
    """The classes that are raised: those without any below them, and two that are raised themselves.

    Classes that a part defines for itself, below one of these, are answered as that one.
    """
    below = [narrower for narrower in kind.__subclasses__() if _is_ours(narrower)]
    if not below or kind in (InvalidField, NotFound):
        yield kind
    for narrower in below:
        yield from raised(narrower)


def _is_ours(kind: type[CellgateError]) -> bool:
    return kind.__module__.startswith(errors.__name__)


def documented() -> set[tuple[int, str]]:
    """Status and code of each row of the table of errors; what is in brackets are members."""
    table = DOCUMENT.read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", table, re.MULTILINE)
    return {
        (int(status), code)
        for status, codes in rows
        for code in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", codes))
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
    assert {kind.__name__ for kind in raised() if _is_ours(kind)} <= drawn


def test_a_class_inherits_what_it_does_not_name() -> None:
    assert (WrongShape.status, WrongShape.code) == (InvalidField.status, "wrong_shape")
    assert (InternalError.status, InternalError.code, InternalError.title) == (
        500,
        "internal",
        "Internal error",
    )


def test_the_rest_of_a_body_is_left_unread_only_where_it_cannot_be_read() -> None:
    closing = {kind.__name__ for kind in raised() if kind.closes_connection}
    assert closing == {"BadHttp", "HeadTooLarge", "BodyTooLarge", "BodyTimeout"}


def test_an_error_brings_its_headers() -> None:
    assert InvalidField("no").headers() == []
    assert Overloaded("full").headers() == [(b"retry-after", b"1")]
    assert RateLimited("slow down", retry_after_s=7).headers() == [(b"retry-after", b"7")]
    assert Unauthorized("no key").headers() == [(b"www-authenticate", b"Bearer")]
    assert MethodNotAllowed("no", allow=("GET", "PUT")).headers() == [(b"allow", b"GET, PUT")]


def test_every_class_is_summarized_in_one_sentence() -> None:
    for kind in raised():
        summary = kind.summary()
        assert summary.endswith(".") and kind.title and kind.title[0].isupper(), kind
        assert kind.__doc__ and summary == kind.__doc__.partition("\n")[0]


def test_what_a_client_sent_is_clipped_in_a_message() -> None:
    error = InvalidField("x" * 5000, pointer="/" + "y" * 5000)
    assert len(error.detail) == len(error.pointer or "") == MAX_CHARACTERS + 1


def test_a_problem_holds_code_pointer_and_members() -> None:
    problem = SessionConflict("the session is at step 3", pointer="/at", members={"step": 3}).problem()
    assert problem == {
        "type": "about:blank", "title": "Session is at another step", "status": 409,
        "code": "session_conflict", "detail": "the session is at step 3", "pointer": "/at", "step": 3,
    }  # fmt: skip
