"""What differs between the APIs that the front serves: the content types they read, how they tell errors."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from service.errors import CellgateError, UnsupportedMediaType

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")


@dataclass(slots=True, frozen=True)
class Dialect:
    """One API."""

    check_type: Callable[[bytes], None]
    content_type: tuple[bytes, bytes]  # of an error
    write: Callable[[CellgateError], tuple[int, bytes]]  # status and body of an error


def retry_headers(error: CellgateError) -> Headers:
    """Retry-After (RFC 9110, 10.2.3) where trying again can help."""
    return [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]


def write_problem(error: CellgateError) -> tuple[int, bytes]:
    """Status and body of an error as application/problem+json (RFC 9457)."""
    return error.status, orjson.dumps(error.problem())


def write_v2_error(error: CellgateError) -> tuple[int, bytes]:
    """Status and body of an error in the Open Inference Protocol, which knows no 422.

    Beside its "error" there is our "code", stable and one per cause, and what the problem has further.
    """
    status = 400 if error.status == 422 else error.status
    return status, orjson.dumps({"error": error.detail, "code": error.code} | error.members)


def _check_json_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise UnsupportedMediaType(f"expected application/json, got {value.decode('latin-1')!r}")


def _check_tensor_type(value: bytes) -> None:
    if value.partition(b";")[0].strip().lower() != b"application/octet-stream":
        _check_json_type(value)


def _check_no_type(_: bytes) -> None:
    """FastAPI looks at the type where there is one to look for."""


PREDICT = Dialect(_check_json_type, PROBLEM, write_problem)
INFER = Dialect(_check_tensor_type, JSON, write_v2_error)
OTHER = Dialect(_check_no_type, PROBLEM, write_problem)
OTHER_V2 = Dialect(_check_no_type, JSON, write_v2_error)
