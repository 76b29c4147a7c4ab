"""A whole HTTP request and a whole HTTP response, as values. They know no server and no framework."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from service.metrics import RequestSpan
from service.stages import Stages
from service.trace import Trace

Header = tuple[bytes, bytes]
Headers = list[Header]
Fields = dict[str, Any]  # of a line of the access log

JSON = (b"content-type", b"application/json")
OCTETS = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")


DISCONNECT = "the client has disconnected"  # the message of the cancellation of its request


class ClientDisconnected(Exception):
    """The client closed the connection before it had the response; there is nothing to send.

    `is_refused`: the server closed it, for a body that is not HTTP, and has answered and logged that.
    """

    is_refused = False


class Outlet(Protocol):
    """Where a response is written part by part; each method returns when the client reads fast enough.

    It may raise ClientDisconnected.
    """

    async def start(self, head: "Response", part: bytes) -> None:
        """Send the head, and the first part, which may be empty."""
        ...

    async def write(self, part: bytes) -> None:
        """Send a further part."""
        ...

    async def end(self, part: bytes, *, closes: bool = False) -> None:
        """Send the last part, without waiting for the client; `closes`: the connection too."""
        ...


class Outlets(Protocol):
    """Where a request came from."""

    def open_outlet(self) -> Outlet:
        """The outlet for the response to the request that is being answered."""
        ...


@dataclass(slots=True)  # not frozen, for speed
class Request:
    """One request. `path` is decoded, `query` is not; header names are in lower case.

    The gate sets `id`, the request's id in logs; `tenant`, whose key it carries; `coding`, the content coding
    that its body arrived in; `idempotency_key`; `accept`, if it names server-sent events; and `trace`, which
    its client names, or the one that `span` is in, where spans are recorded. The documented application sets
    `route`: the template of the path, as in OpenAPI.
    """

    method: str
    path: str
    headers: Headers
    body: bytes = b""
    query: bytes = b""
    id: bytes = b""
    tenant: str = ""
    route: str = ""
    coding: bytes = b""
    trace: Trace | None = None
    span: RequestSpan | None = None
    idempotency_key: bytes = b""
    accept: bytes = b""
    outlets: Outlets | None = None  # None: a response is sent as a whole
    raw_path: str = ""  # `path` as the client sent it, percent-encoded; empty: nothing in it is


@dataclass(slots=True)  # not frozen, for speed
class Response:
    """One response. `headers` are complete, their names in lower case; `log` is for the access log.

    `stages`: of an inference request that was answered. `held`: bytes of it that count as memory, until
    `Gate.release`.
    """

    status: int
    headers: Headers
    body: bytes
    log: Fields = field(default_factory=dict)
    stages: Stages | None = None
    held: int = 0
