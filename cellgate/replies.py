"""HTTP responses → JSON objects or errors."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from cellgate.errors import (
    BadInput,
    BadReply,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    ReplicaLost,
    ResponseError,
    ServerError,
    SessionGone,
    TooMany,
    Unauthorized,
    Unavailable,
)

BY_STATUS: Mapping[int, type[ResponseError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    410: SessionGone,
    429: TooMany,
    501: BadInput,
    502: ReplicaLost,
    503: Unavailable,
    504: DeadlineExceeded,
}
MAX_DETAIL = 500  # characters of a body that is no problem document


def parse(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a response. Raises BadReply."""
    try:
        document = json.loads(response.content)
    except ValueError as error:
        raise BadReply(f"{_origin(response)}: the reply is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadReply(f"{_origin(response)}: expected a JSON object, got {type(document).__name__}")
    return document


def error_of(response: httpx.Response) -> ResponseError | None:
    """The error that a response is; None: it is none. Raises BadReply for a redirect or the like."""
    status = response.status_code
    if 200 <= status < 300:
        return None
    if status < 400:
        raise BadReply(f"{_origin(response)}: unexpected status {status}")
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):  # a proxy's page
        phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "error"
        document = {"detail": response.text[:MAX_DETAIL].strip() or phrase}
    return error_in(document, status, request_id=response.headers.get("x-request-id", ""))


def error_in(problem: Mapping[str, Any], status: int = 0, *, request_id: str = "") -> ResponseError:
    """The error of a problem document (RFC 9457), or of `{"error": …, "code": …}` of /v2."""
    status = status or int(problem.get("status", 0))
    detail = str(problem.get("detail", problem.get("error", "")))
    error = ResponseError.by_code().get(str(problem.get("code"))) or _by_status(status)
    return error(detail, status=status, members=problem, request_id=request_id)


def retry_after_s(response: httpx.Response) -> float | None:
    """The seconds of Retry-After; None: there is none, or it is a date, which no Cellgate server sends."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _by_status(status: int) -> type[ResponseError]:
    return BY_STATUS.get(status) or (ServerError if status >= 500 else BadInput)


def _origin(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url}"
