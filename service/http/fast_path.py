"""The adapter from uvicorn's protocol to the gate: inference requests answered without ASGI's messages.

ASGI takes a request apart into messages, carried by a task, an event and a dozen objects. An inference
request that arrives whole in one read is answered by a task that the connection keeps, with one write.

    head read ──inference route, nothing pending──→ collecting ──last byte in this read──→ answering ─→ idle
        │                                               │                                   (one at a time)
        └──any other──→ by ASGI (`connection`) ←────────┘ read ended before the body did
"""

import asyncio
import logging
import re
from typing import Any

from service.errors import CellgateError
from service.http.chunked import ChunkedOutlet
from service.http.messages import DISCONNECT, ClientDisconnected, Headers, Request, Response
from service.http.router import Route
from service.http.upgrade import UpgradingConnection

_NOT_A_PLAIN_PATH = re.compile(rb"[%?#]")  # escaped, or more than a path

logger = logging.getLogger(__name__)


class Exchange:
    """A request on the fast path; a `Cycle` to the connection."""

    __slots__ = (
        "disconnected",
        "headers",
        "keep_alive",
        "message_event",
        "parts",
        "path",
        "response_complete",
        "response_started",
        "route",
    )
    more_body = False

    def __init__(
        self, route: Route, path: str, headers: Headers, keep_alive: bool, message_event: asyncio.Event
    ) -> None:
        self.route = route
        self.path = path
        self.headers = headers
        self.parts: list[bytes] = []  # of the body
        self.keep_alive = keep_alive
        self.message_event = message_event  # uvicorn sets it; nothing waits for it
        self.disconnected = False
        self.response_started = False
        self.response_complete = False


class CellgateProtocol(UpgradingConnection):
    """`uvicorn.Config(http=…)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._collecting: Exchange | None = None  # answered on the fast path if it ends in this read
        self._next: asyncio.Future[Exchange] = self.loop.create_future()
        self._answering: asyncio.Task[None] | None = None
        self._answered: Exchange | None = None  # of the newest request on the fast path
        self._event = asyncio.Event()
        self._known: tuple[bytes, str, Route | None] = (b"", "", None)  # of the last URL: see `_find`

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if self._answering is not None:
            self._answering.cancel(DISCONNECT)
        super().connection_lost(exc)

    def on_body(self, body: bytes) -> None:
        """Some bytes of a body."""
        if self._collecting is not None:
            self._collecting.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        exchange, self._collecting = self._collecting, None
        if exchange is None:
            super().on_message_complete()
            return
        self.cycle = self._answered = exchange
        if self._answering is None:
            self._answering = self.loop.create_task(self._answer_all())
            self._answering.add_done_callback(self._end_answering)
            self.tasks.add(self._answering)  # a server that stops waits for it
        self._next.set_result(exchange)

    def open_outlet(self) -> ChunkedOutlet:
        """Implements `Outlets`, for the request that is being answered."""
        exchange = self._answered
        if exchange is None or exchange.response_complete:
            return super().open_outlet()
        # One that closes the connection is the last: the parser's version is its own.
        version = "1.1" if exchange.keep_alive else self.parser.get_http_version()
        return ChunkedOutlet(self, exchange, version, self._write, self._complete)

    def _start_request(self) -> None:
        self._collecting = self._exchange()
        if self._collecting is None:
            super()._start_request()
        else:
            self.headers = []  # trailers are no headers (RFC 9110, 6.5.1)

    def _end_read(self) -> None:
        exchange, self._collecting = self._collecting, None
        if exchange is not None:
            self._start_by_asgi(exchange.headers, exchange.parts)

    def _refuse(self, error: CellgateError) -> None:
        self._collecting = None
        super()._refuse(error)

    def _detach(self) -> None:
        super()._detach()
        if self._answering is not None:
            self._answering.cancel(DISCONNECT)

    def _exchange(self) -> Exchange | None:
        """The exchange of a request that can take the fast path, as far as its head shows."""
        parser = self.parser
        if parser.get_method() != b"POST" or self.expect_100_continue or self.root_path:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        url, path, route = self._known
        if url != self.url:  # mostly the requests of a connection have one URL
            self._known = url, path, route = self._find(self.url)
        if route is None:
            return None
        keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        return Exchange(route, path, self.headers, keep_alive, self._event)

    def _find(self, url: bytes) -> tuple[bytes, str, Route | None]:
        """A URL, its path, and its inference route, if it is a plain path of one."""
        if _NOT_A_PLAIN_PATH.search(url):
            return url, "", None
        router = self._gate.router
        path = router.local(url.decode("ascii"))
        return url, path, router.find_inference(path)

    async def _answer_all(self) -> None:
        """The connection's task: answers its requests on the fast path, one after the other."""
        while True:
            await self._answer(await self._next)

    async def _answer(self, exchange: Exchange) -> None:
        """Body and response are freed when this returns, however long the next request takes to arrive."""
        self._next = self.loop.create_future()
        parts = exchange.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        request = Request("POST", exchange.path, exchange.headers, body, outlets=self)
        del body
        try:
            response = await self._gate.answer(request, exchange.route)
        except ClientDisconnected:
            return
        try:
            while not self._respond(exchange, response):
                await self.flow.drain()
        finally:
            if response.held:
                self._gate.release(response)

    def _end_answering(self, task: asyncio.Task[None]) -> None:
        """The connection is closed, a stop did not wait, or the server has a bug."""
        self._answering = None
        self.tasks.discard(task)
        if not task.cancelled():
            logger.error("a connection's task failed", exc_info=task.exception())
        exchange = self.cycle
        if exchange is None or exchange.disconnected or self.transport.is_closing():
            return
        if isinstance(exchange, Exchange) and not exchange.response_complete:
            exchange.keep_alive = False
            self._respond(exchange, self._failure_of(exchange, is_interrupted=task.cancelled()))
        self.transport.close()

    def _failure_of(self, exchange: Exchange, *, is_interrupted: bool) -> Response:
        request = Request("POST", exchange.path, exchange.headers)
        return (
            self._gate.interrupt(request) if is_interrupted else self._gate.failure(request, exchange.route)
        )
