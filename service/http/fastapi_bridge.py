"""Calls an ASGI application (the documented routes, in FastAPI) as a handler: request in, response out."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.http.messages import Headers, Request, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WITHOUT_BODY = frozenset({204, 304})


class ApplicationHandler:
    """Implements `Handler` with an ASGI application. What the application raises, the gate answers."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, request: Request) -> Response:
        """Run the application on one request. The tenant and the request's id are in `request.state`."""
        exchange = _Exchange(request.body)
        scope = _scope(request)
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
            self._headers = list(message.get("headers", []))
        else:
            self._parts.append(message.get("body", b""))

    def response(self) -> Response:
        """What has been sent, with its length."""
        body = b"".join(self._parts)
        has_length = any(name == b"content-length" for name, _ in self._headers)
        if not has_length and self._status not in WITHOUT_BODY:
            self._headers.append((b"content-length", b"%d" % len(body)))
        return Response(self._status, self._headers, body)


def _scope(request: Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        # A HEAD is a GET whose body the gate leaves out (RFC 9110, 9.3.2).
        "method": "GET" if request.method == "HEAD" else request.method,
        "scheme": "http",
        "path": request.path,
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": None,
        "server": None,
        "state": {"tenant": request.tenant, "request_id": request.id.decode()},
    }
