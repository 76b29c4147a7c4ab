"""uvicorn's HTTP protocol with what it leaves open: a short way for hot requests, bounds, a soft close.

ASGI takes a request apart into messages; a task, an event and a dozen objects carry them. A hot request that
comes whole in one read goes a short way instead: a task that the connection keeps asks the front, and the
reply is one write. Every other request goes by ASGI, where the extension `WHOLE_REPLY` saves the front's
replies the second write.
"""

import asyncio
import logging
import re
from math import inf
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import UNFORESEEN, BadHttp, CellgateError, HeadTooLarge, InternalError, Overloaded
from service.http.dialects import PROBLEM, Headers, retry_headers, write_problem
from service.http.gate import CLOSE, WHOLE_REPLY, Front, Receive, Response, Route, Scope, Send

MAX_HEAD_BYTES = 64 << 10  # before the read in which the head ends
HEAD_S = 10.0  # for a head, from its first byte to its last
LINGER_S = 2.0  # for a client that is still sending to see why it need not
MAX_PIPELINED = 256  # requests of a connection that wait behind the one being answered
_ODD_TARGET = re.compile(rb"[%?#]")  # escaped, or more than a path


logger = logging.getLogger(__name__)


class Exchange:
    """A request on the short way. What uvicorn asks of the `cycle` of a connection can be asked of it too."""

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
        self.message_event = message_event  # nobody waits for it
        self.disconnected = False
        self.response_started = False
        self.response_complete = False


class CellgateProtocol(HttpToolsProtocol):
    """`uvicorn.Config(http=…)`. Connections beyond `limit_concurrency` are answered 503, and closed."""

    cycle: RequestResponseCycle | Exchange  # type: ignore[assignment]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # uvicorn's own answer to too many connections is plain text.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._app = self.app
        front = getattr(self.app, "front", None)
        self._front = front if isinstance(front, Front) else None
        self._coming: Exchange | None = None  # for the short way, if all of it comes in this read
        self._asked: asyncio.Future[Exchange] = self.loop.create_future()
        self._answering: asyncio.Task[None] | None = None
        self._served: RequestResponseCycle | None = None  # by ASGI; the requests behind it wait
        self._event = asyncio.Event()
        self._extensions = {WHOLE_REPLY: self._reply_by_asgi}
        self._is_in_head = False
        self._head_bytes = 0
        self._read_bytes = 0  # of the read under way
        self._is_lingering = False
        self._is_refused = False  # nothing is read any more; what is pending is answered
        # One timer a connection, which looks when the next request or the rest of its head is due.
        self._due = inf
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._due = self.loop.time() + self.timeout_keep_alive
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._clock is not None:
            self._clock.cancel()
        if self._answering is not None:
            self._answering.cancel()
        self._extensions.clear()  # or this, all it read and all it wrote would wait for the garbage collector
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; of one that is answered or refused already they are thrown away."""
        if self._is_lingering or self._is_refused:
            return
        self._read_bytes = len(data)
        self._feed(data)
        if self._coming is not None:
            self._go_by_asgi(self._coming.headers, self._coming.parts)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"the head has more than {MAX_HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """The first byte of a request's head has come."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_head = True
        self._head_bytes = -self._read_bytes  # what came before it in the same read does not count
        self._due = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        """A request's head has been read: its way is chosen here."""
        self._is_in_head = False
        self._due = inf
        if self.parser.should_upgrade():
            return  # `_feed` will read it again
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(Overloaded("too many requests at once on one connection"))
            raise _Refused
        is_full = self._most is not None and len(self.connections) > self._most
        if is_full:
            self.connections.discard(self)  # it is about to be closed, and stands in nobody's way
        self._coming = None if is_full else self._short_way()
        if self._coming is None:
            self.app = cast(Any, _too_many) if is_full else self._app
            self._go_by_asgi(self.headers, [])
        else:
            self.headers = []  # trailers are no headers (RFC 9110, 6.5.1)

    def on_body(self, body: bytes) -> None:
        """Some bytes of a body."""
        if self._coming is not None:
            self._coming.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte has come."""
        if self._coming is None:
            if not self.parser.should_upgrade():
                super().on_message_complete()
            return
        self.cycle, self._coming = self._coming, None
        if self._answering is None:
            self._answering = self.loop.create_task(self._answer_all())
            self._answering.add_done_callback(self._answered)
            self.tasks.add(self._answering)  # for which a server that stops waits
        self._asked.set_result(self.cycle)

    def on_response_complete(self) -> None:
        """Go on with a pipelined request, or wait for the next."""
        self.server_state.total_requests += 1
        if self._is_lingering or self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._is_refused:
            self._linger()
        else:
            self.flow.resume_reading()
            self._due = self.loop.time() + self.timeout_keep_alive

    def _feed(self, data: bytes) -> None:
        """Have the parser read. An offer to change the protocol is not taken up (RFC 9110, 7.8)."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                self._refuse(BadHttp("CONNECT: this is no proxy"))
                return
            lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            self._feed(head + data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._is_refused:
                logger.info("no HTTP: %s", error)
                self._refuse(BadHttp("Invalid HTTP request received."))

    def _short_way(self) -> Exchange | None:
        """A request that can go it, as far as its head tells: none that another one has to wait for."""
        parser = self.parser
        if self._front is None or parser.get_method() != b"POST":
            return None
        is_plain = not (self.expect_100_continue or self.root_path or _ODD_TARGET.search(self.url))
        is_next = self.cycle is None or self.cycle.response_complete
        if not is_plain or not is_next:
            return None
        path = self.url.decode("ascii")
        route = self._front.route(path, self.headers)
        if route is None:
            return None
        keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        return Exchange(route, path, self.headers, keep_alive, self._event)

    async def _answer_all(self) -> None:
        """The connection's task: answers its requests on the short way, one after the other."""
        while True:
            await self._answer(await self._asked)

    async def _answer(self, exchange: Exchange) -> None:
        """One of them. Body and reply are gone with it, however long the next one takes to come."""
        assert self._front is not None
        self._asked = self.loop.create_future()
        parts = exchange.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        response = await self._front.answer(exchange.route, exchange.path, exchange.headers, body)
        while not self._reply(exchange, response):
            await self.flow.drain()

    def _answered(self, task: asyncio.Task[None]) -> None:
        """The connection is gone; or a stop would not wait; or something of ours is broken."""
        self._answering = None
        self.tasks.discard(task)
        if not task.cancelled():
            logger.error("a connection's task failed", exc_info=task.exception())
        exchange = self.cycle
        if exchange.disconnected or self.transport.is_closing():
            return
        if isinstance(exchange, Exchange) and not exchange.response_complete:
            self._reply(exchange, _refusal(InternalError(UNFORESEEN)))
        self.transport.close()

    def _go_by_asgi(self, headers: Headers, parts: list[bytes]) -> None:
        """Hand uvicorn a head that it did not see come, and what has come of its body."""
        self._coming = None
        url, expects = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # those of the scope
        self.scope["extensions"] = cast(Any, self._extensions)
        super().on_headers_complete()
        self.headers = []  # likewise
        for part in parts:
            super().on_body(part)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _reply_by_asgi(self, response: Response) -> bool:
        assert self._served is not None
        return self._reply(self._served, response)

    def _reply(self, cycle: RequestResponseCycle | Exchange, response: Response) -> bool:
        """Write a reply, once. False when the client does not read: then it has to wait."""
        if cycle.disconnected:
            return True
        if self.flow.write_paused:
            return False
        headers = response.headers
        if CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append(CLOSE)
        self._write(response)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._linger() if cycle.more_body else self.transport.close()
        self.on_response_complete()
        return True

    def _write(self, response: Response) -> None:
        lines = [b"%b: %b\r\n" % header for header in response.headers]
        self.transport.write(b"".join((STATUS_LINE[response.status], *lines, b"\r\n", response.body)))

    def _refuse(self, error: CellgateError) -> None:
        """Read no more, and say why; unless somebody waits for a reply: they get it, and then the end."""
        if self._is_refused:
            return
        self._is_refused = True
        self._coming = None
        cycle = self.cycle
        is_pending = cycle is not None and not cycle.response_complete
        if is_pending and cycle.more_body:  # it is this one that broke off
            if self.pipeline:
                self.pipeline.popleft()
            else:
                cycle.disconnected = cycle.response_complete = True
                cycle.message_event.set()
                is_pending = False
        if not is_pending:
            self._write(_refusal(error))
            self._linger()

    def _linger(self) -> None:
        """Close for a client that may be still sending: at once, it would see a reset and not our reply."""
        self._is_lingering = True
        self._due = self.loop.time() + LINGER_S
        self.transport.write_eof()
        self.flow.resume_reading()
        self._look()

    def _look(self) -> None:
        """Close what is overdue; look again when it may be, at the latest after `HEAD_S`."""
        if self._clock is not None:
            self._clock.cancel()
        left = self._due - self.loop.time()
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if left <= 0 and not is_busy:
            if self.transport.is_closing():  # and still here: the client does not read
                self.transport.abort()
                return
            self.transport.close()
            left = LINGER_S
        self._clock = self.loop.call_later(min(max(left, 0.1), HEAD_S), self._look)


class _Refused(Exception):
    """Ends the parser's work on what has been read."""


def _refusal(error: CellgateError) -> Response:
    status, body = write_problem(error)
    headers = [PROBLEM, (b"content-length", b"%d" % len(body)), CLOSE, *retry_headers(error)]
    return Response(status, headers, body)


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    error = Overloaded("this worker has as many open connections as it takes (max_connections)")
    scope["extensions"][WHOLE_REPLY](_refusal(error))
