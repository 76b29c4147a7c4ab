"""The adapter from ASGI to the gate: it carries bytes, and decides nothing.

Any ASGI server can be in front of it. Where the server offers the extension `WHOLE_RESPONSE`, a response
leaves in one write instead of two; where it offers `OUTLET`, one in parts has the form that the client's
version of HTTP takes.
"""

import asyncio

from service.http.disconnects import Disconnects
from service.http.fastapi_bridge import Receive, Scope, Send
from service.http.gate import Gate
from service.http.messages import ClientDisconnected, Outlet, Request, Response

OUTLET = "cellgate.outlet"  # ASGI extension: returns an Outlet
REFUSED = "cellgate.refused"  # ASGI extension: there once the rest of the body is refused, and answered
WHOLE_RESPONSE = "cellgate.whole_response"  # ASGI extension: takes a Response; returns whether it was written


class AsgiAdapter:
    """An ASGI application around the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._disconnects = Disconnects()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        query = scope.get("query_string", b"")
        path = self._gate.router.local(scope["path"])
        outlets = _Outlets(scope, send)
        request = Request(scope["method"], path, scope["headers"], query=query, outlets=outlets)
        if raw := scope.get("raw_path"):
            request.raw_path = self._gate.router.local(raw.decode("latin-1"))
        route = self._gate.router.find(request.method, request.path)

        async def read_part() -> tuple[bytes, bool]:
            try:
                return await watch.read_part()
            except ClientDisconnected as error:
                error.is_refused = REFUSED in scope.get("extensions", ())
                raise

        try:
            with self._disconnects.watch(receive, reads_body=route.reads_body) as watch:
                response = await self._gate.answer(request, route, read_part)
        except ClientDisconnected:
            return
        except asyncio.CancelledError:
            if not self._gate.is_draining:
                raise
            response = self._gate.interrupt(request)
        try:
            if not outlets.is_used:
                await _send(scope, send, response)
        finally:
            self._gate.release(response)


class _Outlets:
    """Implements `Outlets`."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.is_used = False
        self._scope = scope
        self._send = send

    def open_outlet(self) -> Outlet:
        """The server's own, if it has any."""
        self.is_used = True
        outlet: Outlet | None = None
        if extension := (self._scope.get("extensions") or {}).get(OUTLET):
            outlet = extension()
        return outlet or _AsgiOutlet(self._send)


class _AsgiOutlet:
    """Implements `Outlet` with ASGI's messages."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def start(self, head: Response, part: bytes) -> None:
        await self._send({"type": "http.response.start", "status": head.status, "headers": head.headers})
        await self.write(part)

    async def write(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self, part: bytes, *, closes: bool = False) -> None:  # noqa: ARG002  the server's task
        await self._send({"type": "http.response.body", "body": part})


async def _send(scope: Scope, send: Send, response: Response) -> None:
    extensions = scope.get("extensions")
    if extensions and WHOLE_RESPONSE in extensions and extensions[WHOLE_RESPONSE](response):
        return
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})
