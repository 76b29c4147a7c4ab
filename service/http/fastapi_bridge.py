"""Calls an ASGI application (the documented routes, in FastAPI) as a handler: request in, response out."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from service.http.messages import Header, Headers, Request, Response
from service.names import ROOT_PATH

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WITHOUT_BODY = frozenset({204, 304})


class ApplicationHandler:
    """Implements `Handler` with an ASGI application. What the application raises, the gate answers."""

    def __init__(self, app: App, *, root_path: str = "", reads_prefix: bool = False) -> None:
        """`root_path`: where clients see the application; X-Forwarded-Prefix says it with `reads_prefix`."""
        self._app = app
        self._root_path = root_path
        self._reads_prefix = reads_prefix

    async def __call__(self, request: Request) -> Response:
        """Run the application on one request. The tenant and the request's id are in `request.state`."""
        exchange = _Exchange(request.body)
        root_path = (_prefix_of(request.headers) if self._reads_prefix else None) or self._root_path
        scope = _scope(request, root_path)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            request.route = getattr(scope.get("route"), "path", "")
        return exchange.response()


class _Exchange:
    """The messages of one call."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._status = 500
        self._headers: Headers = []
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """The body, once. A client that disconnects cancels the call, so there is nothing else to report."""
        body, self._body = self._body, None
        if body is None:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Collect the response."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [_without_origin(header) for header in message.get("headers", [])]
        else:
            self._parts.append(message.get("body", b""))

    def response(self) -> Response:
        """What has been sent, with its length."""
        body = b"".join(self._parts)
        has_length = any(name == b"content-length" for name, _ in self._headers)
        if not has_length and self._status not in WITHOUT_BODY:
            self._headers.append((b"content-length", b"%d" % len(body)))
        return Response(self._status, self._headers, body)


def _without_origin(header: Header) -> Header:
    """Of a redirect only the path: the scheme and host that the client sees are the proxy's."""
    name, value = header
    if name != b"location":
        return header
    url = urlsplit(value)
    return name, urlunsplit((b"", b"", url.path, url.query, url.fragment))


def _prefix_of(headers: Headers) -> str | None:
    """What the proxies have cut off, the outermost first; None if they do not say, or say what is no path."""
    parts = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-prefix"]
    prefix = "".join(part.strip().rstrip("/") for part in ",".join(parts).split(","))
    return prefix if ROOT_PATH.fullmatch(prefix) else None


def _scope(request: Request, root_path: str) -> Scope:
    """ASGI's scope, whose path includes `root_path`."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        # A HEAD is a GET whose body the gate leaves out (RFC 9110, 9.3.2).
        "method": "GET" if request.method == "HEAD" else request.method,
        "scheme": "http",
        "path": root_path + request.path,
        "raw_path": (root_path + (request.raw_path or quote(request.path))).encode("latin-1"),
        "query_string": request.query,
        "root_path": root_path,
        "headers": request.headers,
        "client": None,
        "server": None,
        "state": {"tenant": request.tenant, "request_id": request.id.decode()},
    }
