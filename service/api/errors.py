"""The error responses of a route, documented from the error classes that it raises: one per HTTP status.

Each class has a sample: the body that the gate would send of such an error.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from service.api import error_samples
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
    *kinds: type[CellgateError] | CellgateError,
    has_body: bool = False,
    is_health: bool = False,
    dialect: Dialect = PROBLEM,
) -> Responses:
    """The documented error responses of a route that raises these classes, by status.

    An error in the place of a class is the sample on this route, also of a class that is named before it.
    """
    common = () if is_health else EVERY_ROUTE
    samples: dict[type[CellgateError], CellgateError] = {}
    for kind in (*kinds, *(WITH_BODY if has_body else ()), *common):
        if isinstance(kind, CellgateError):
            samples[type(kind)] = kind
        else:
            samples.setdefault(kind, error_samples.BY_CLASS[kind])
    by_status: dict[int, list[CellgateError]] = {}
    for sample in samples.values():
        by_status.setdefault(dialect.status_of(sample), []).append(sample)
    return {status: _response(by_status[status], dialect) for status in sorted(by_status)}


def describe(kinds: Iterable[type[CellgateError]]) -> str:
    """A Markdown list: each code, and what it means."""
    return "\n".join(f"- `{kind.code}`: {kind.summary()}" for kind in kinds)


def _response(errors: list[CellgateError], dialect: Dialect) -> dict[str, Any]:
    content = {
        "schema": {"$ref": f"#/components/schemas/{_SCHEMAS[dialect]}"},
        "examples": {
            error.code: {"summary": error.title, "value": orjson.loads(dialect.write(error))}
            for error in errors
        },
    }
    return {
        "description": describe(map(type, errors)),
        "content": {dialect.content_type[1].decode(): content},
    }
