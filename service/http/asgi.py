"""The adapter from ASGI to the gate: it carries bytes, and decides nothing.

Any ASGI server can be in front of it. Where the server offers the extension `WHOLE_RESPONSE`, a response
leaves in one write instead of two.
"""

import asyncio

from service.http.disconnects import Disconnects
from service.http.fastapi_bridge import Receive, Scope, Send
from service.http.gate import Gate
from service.http.messages import ClientDisconnected, Request, Response

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
        request = Request(scope["method"], path, scope["headers"], query=query)
        route = self._gate.router.find(request.method, request.path)
        try:
            with self._disconnects.watch(receive, reads_body=route.reads_body) as watch:
                response = await self._gate.answer(request, route, watch.read_part)
        except ClientDisconnected:
            return
        except asyncio.CancelledError:
            if not self._gate.is_draining:
                raise
            response = self._gate.interrupt(request)
        try:
            await _send(scope, send, response)
        finally:
            self._gate.release(response)


async def _send(scope: Scope, send: Send, response: Response) -> None:
    extensions = scope.get("extensions")
    if extensions and WHOLE_RESPONSE in extensions and extensions[WHOLE_RESPONSE](response):
        return
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})
