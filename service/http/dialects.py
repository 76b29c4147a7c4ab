"""How each of the two APIs reports an error, and which of them a path belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from service.errors import CellgateError
from service.http.messages import CLOSE, JSON, Fields, Header, Response


@dataclass(slots=True, frozen=True)
class Dialect:
    """One API's form of an error."""

    content_type: Header
    write: Callable[[CellgateError], tuple[int, bytes]]  # status and body


def _write_problem(error: CellgateError) -> tuple[int, bytes]:
    """Problem details (RFC 9457)."""
    return error.status, orjson.dumps(error.problem())


def _write_v2_error(error: CellgateError) -> tuple[int, bytes]:
    """The Open Inference Protocol's error, which has no status 422, with our `code` and members beside it."""
    status = 400 if error.status == 422 else error.status
    return status, orjson.dumps({"error": error.detail, "code": error.code} | error.members)


PROBLEM = Dialect((b"content-type", b"application/problem+json"), _write_problem)
V2 = Dialect(JSON, _write_v2_error)


def dialect_of(path: str) -> Dialect:
    """The API that a path belongs to."""
    return V2 if path == "/v2" or path.startswith("/v2/") else PROBLEM


def render(error: CellgateError, dialect: Dialect) -> Response:
    """The response that reports an error."""
    status, body = dialect.write(error)
    headers = [dialect.content_type, (b"content-length", b"%d" % len(body)), *error.headers()]
    if error.closes_connection:
        headers.append(CLOSE)
    return Response(status, headers, body, _log_fields(error))


def _log_fields(error: CellgateError) -> Fields:
    """What the access log holds of an error: its code and place, but nothing that a client sent."""
    fields: Fields = {"code": error.code}
    if error.status >= 500:
        fields["detail"] = error.detail
    if error.pointer is not None:
        fields["pointer"] = error.pointer
    return fields
