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
    write: Callable[[CellgateError], bytes]  # the body
    has_422: bool = True  # if not, the status of such an error is 400

    def status_of(self, error: CellgateError | type[CellgateError]) -> int:
        """The HTTP status of an error, or of a class of errors."""
        return 400 if error.status == 422 and not self.has_422 else error.status


def _write_problem(error: CellgateError) -> bytes:
    """Problem details (RFC 9457)."""
    return orjson.dumps(error.problem())


def _write_v2_error(error: CellgateError) -> bytes:
    """The Open Inference Protocol's error, with our `code` and members beside it."""
    return orjson.dumps({"error": error.detail, "code": error.code} | error.members)


PROBLEM = Dialect((b"content-type", b"application/problem+json"), _write_problem)
V2 = Dialect(JSON, _write_v2_error, has_422=False)


def dialect_of(path: str) -> Dialect:
    """The API that a path belongs to."""
    return V2 if path == "/v2" or path.startswith("/v2/") else PROBLEM


def render(error: CellgateError, dialect: Dialect) -> Response:
    """The response that reports an error."""
    body = dialect.write(error)
    headers = [dialect.content_type, (b"content-length", b"%d" % len(body)), *error.headers()]
    if error.closes_connection:
        headers.append(CLOSE)
    return Response(dialect.status_of(error), headers, body, _log_fields(error))


def _log_fields(error: CellgateError) -> Fields:
    """What the access log holds of an error: its code, place and model, but nothing that a client sent."""
    fields: Fields = {"code": error.code}
    if error.model is not None:
        fields["model"], fields["version"] = error.model
    if error.status >= 500:
        fields["detail"] = error.detail
    if error.pointer is not None:
        fields["pointer"] = error.pointer
    return fields
