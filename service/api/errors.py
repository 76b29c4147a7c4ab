"""The error responses of a route, documented from the error classes that it raises: one per HTTP status."""

from collections.abc import Iterable
from typing import Any

from service.errors import (
    BadHeader,
    BodyTimeout,
    BodyTooLarge,
    CellgateError,
    CorruptRecord,
    DeadlineExceeded,
    Draining,
    EmptySequence,
    InternalError,
    InvalidField,
    InvalidJson,
    NonFinite,
    NonFiniteOutput,
    Overloaded,
    RateLimited,
    ReplyTooLarge,
    SequenceTooLong,
    SessionCapacity,
    SessionConflict,
    SessionGone,
    SessionMismatch,
    SessionNotSupported,
    SessionQuota,
    StoreUnavailable,
    TooManySequences,
    TooManyValues,
    Unauthorized,
    UnknownModel,
    UnknownSession,
    UnknownVersion,
    UnsupportedEncoding,
    UnsupportedMediaType,
    WrongShape,
)
from service.http import PROBLEM, V2, Dialect

Responses = dict[int | str, dict[str, Any]]  # as FastAPI takes them
Kinds = tuple[type[CellgateError], ...]

# Raised before or around every route but those of health, and before every route that reads a body.
EVERY_ROUTE: Kinds = (Unauthorized, RateLimited, InternalError, Overloaded, Draining)
WITH_BODY: Kinds = (BadHeader, BodyTimeout, BodyTooLarge, UnsupportedMediaType, UnsupportedEncoding)

# What several routes have in common.
MODEL: Kinds = (UnknownModel, UnknownVersion)
VALUES: Kinds = (InvalidJson, InvalidField, WrongShape, NonFinite, TooManyValues)
SEQUENCES: Kinds = (*VALUES, EmptySequence, SequenceTooLong, TooManySequences, ReplyTooLarge)
LIVE_SESSION: Kinds = (UnknownSession, SessionGone, CorruptRecord, StoreUnavailable)
NEW_SESSION: Kinds = (SessionQuota, SessionCapacity, StoreUnavailable)
STEPS: Kinds = (
    *LIVE_SESSION,
    *NEW_SESSION,
    SessionConflict,
    SessionMismatch,
    SessionNotSupported,
    NonFiniteOutput,
    DeadlineExceeded,
)

_SCHEMAS = {PROBLEM: "Problem", V2: "V2Error"}  # in the OpenAPI document's components


def errors(
    *kinds: type[CellgateError], has_body: bool = False, is_health: bool = False, dialect: Dialect = PROBLEM
) -> Responses:
    """The documented error responses of a route that raises these classes, by status."""
    common = () if is_health else EVERY_ROUTE
    by_status: dict[int, list[type[CellgateError]]] = {}
    for kind in dict.fromkeys((*kinds, *(WITH_BODY if has_body else ()), *common)):
        by_status.setdefault(dialect.status_of(kind), []).append(kind)
    return {status: _response(by_status[status], dialect) for status in sorted(by_status)}


def describe(kinds: Iterable[type[CellgateError]]) -> str:
    """A Markdown list: each code, and what it means."""
    return "\n".join(f"- `{kind.code}`: {kind.summary()}" for kind in kinds)


def _response(kinds: list[type[CellgateError]], dialect: Dialect) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{_SCHEMAS[dialect]}"}
    return {"description": describe(kinds), "content": {dialect.content_type[1].decode(): {"schema": schema}}}
