"""The life of one HTTP connection, with the bounds that uvicorn lacks.

    idle ──first byte──→ head ──head complete──→ request ──response written──→ idle
     │ keep-alive over     │ HEAD_S over, or        │ (further requests wait in line, at most MAX_PIPELINED)
     ▼                     ▼ too long: 431          ▼ not HTTP: 400 · upgrade: read as HTTP/1.1
    closed ←─LINGER_S─── lingering ←──refused, or answered before its body was read──┘
     ↑
     └── aborted: the client no longer waits for its response, or reads nothing of it (`peer`)

Lingering: the response is written and the sending side closed, but the rest that the client still sends is
read and discarded for LINGER_S. If it were closed at once, the client would see a reset and not the response.
A client that has closed its sending side gets the responses to the requests that it has sent whole.
Requests go to the gate by ASGI here; `upgrade` adds streams, `fast_path` the way without ASGI's messages.
"""

import asyncio
import logging
from math import inf
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import BadHttp, CellgateError, Overloaded
from service.http.asgi import OUTLET, REFUSED, WHOLE_RESPONSE
from service.http.chunked import ChunkedOutlet
from service.http.fastapi_bridge import Receive, Scope, Send
from service.http.gate import Gate
from service.http.heads import HeadProtocol, Refused
from service.http.messages import CLOSE, Headers, Response
from service.http.peer import PROBE_S
from service.http.timed import LINGER_S, Cycle

MAX_PIPELINED = 256  # requests of a connection that wait behind the one being answered
SPARE = 8  # one in so many connections more than the maximum is still answered 503; further ones are reset

logger = logging.getLogger(__name__)


class Connection(HeadProtocol):
    """Answers by the `gate` of the ASGI application that uvicorn serves.

    Connections beyond `limit_concurrency` are answered 503, and closed soon if they send no request; far
    beyond it they are reset.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's own answer to too many connections is plain text.
        self._max_connections, self.limit_concurrency = self.limit_concurrency, None
        self._app = self.app
        self._gate: Gate = cast(Any, self.app).gate
        self._extensions: dict[str, Any] = {WHOLE_RESPONSE: self._respond_by_asgi, OUTLET: self.open_outlet}
        self._dated: Headers = []  # the headers of `_date_lines`
        self._date_lines = b""
        self._is_lingering = False
        self._num_unread = 0  # bytes of responses that count as memory until the client has read them
        self._is_extra = False  # more than the maximum were open when it was made
        self._is_refused = False  # nothing is read any more; pending requests are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._gate.num_connections += 1
        most = self._max_connections
        if most is not None and len(self.connections) > most + most // SPARE + 1:
            transport.abort()
            return
        self._is_extra = most is not None and len(self.connections) > most
        self._due = self.loop.time() + (LINGER_S if self._is_extra else self.timeout_keep_alive)
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        # A reference cycle would keep all that the connection read and wrote until the next collection.
        self._extensions.clear()
        self._gate.num_connections -= 1
        self._count_unread(0)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as responses are written: what waits for it takes memory."""
        super().pause_writing()
        self._count_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._count_unread(0)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests. After a refusal they are discarded."""
        if self._is_lingering or self._is_refused:
            return
        self._read_bytes = len(data)
        self._feed(data)
        self._end_read()
        if self._is_in_head:
            self._check_growth(len(data))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends nothing more. Returns whether requests are still to be answered."""
        self._has_ended = self._is_busy() and not self._is_refused and self._drop_broken_request()
        if self._has_ended:
            self._check_in(PROBE_S)
        return self._has_ended or (self._is_refused and self._is_busy())

    def on_headers_complete(self) -> None:
        """A request's head has been read."""
        self._is_in_head = False
        self._due = inf
        if self.parser.should_upgrade():
            return  # `_feed` reads it again
        self._check_head()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(Overloaded("too many requests at once on one connection"))
            raise Refused
        if self._is_extra and self._is_beyond_limit():
            self.connections.discard(self)  # it is about to be closed, and must not count against others
            self.app = cast(Any, self._too_many)
            self._start_by_asgi(self.headers, [])
        else:
            self.app = self._app
            self._start_request()
        if len(self.pipeline) == 1:  # reading is paused, so a hang-up has to be looked for
            self._check_in(PROBE_S)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with a pipelined request, or wait for the next."""
        self.server_state.total_requests += 1
        if self._is_lingering or self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._is_refused:
            self._linger()
        elif self._has_ended:
            self.transport.close()
        else:
            if self.flow.read_paused:
                self.flow.resume_reading()
            self._due = self.loop.time() + self.timeout_keep_alive

    def _start_request(self) -> None:
        """Choose how the request whose head has been read is answered."""
        self._start_by_asgi(self.headers, [])

    def _end_read(self) -> None:
        """All bytes of a read have been parsed."""

    def _feed(self, data: bytes) -> None:
        """Parse. An offer to change the protocol is declined: the request is read as HTTP (RFC 9110, 7.8)."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if not self._upgrade(rest):
                self._decline_upgrade(rest)
        except httptools.HttpParserError as error:
            if not self._is_refused:
                logger.info("not HTTP: %s", error)
                self._refuse(BadHttp("Invalid HTTP request received."))

    def _upgrade(self, rest: bytes) -> bool:  # noqa: ARG002
        """Change the protocol, if the request asks for one that there is; whether that was done."""
        return False

    def _detach(self) -> None:
        """Let go of the transport, which another protocol object takes over."""
        if self._timer is not None:
            self._timer.cancel()
        self._extensions.clear()
        self.connections.discard(self)
        self.cycle = None

    def _decline_upgrade(self, rest: bytes) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(BadHttp("CONNECT is not supported: this server is not a proxy"))
            return
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._feed(head + rest)

    def _start_by_asgi(self, headers: Headers, parts: list[bytes]) -> None:
        """Hand uvicorn a head that it did not parse, and the parts of the body that have arrived."""
        url, expects = self.url, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # those of the scope
        self.scope["extensions"] = cast(Any, self._extensions)
        super().on_headers_complete()
        self.headers = []  # trailers are no headers (RFC 9110, 6.5.1)
        for part in parts:
            super().on_body(part)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._asgi_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def _respond_by_asgi(self, response: Response) -> bool:
        """Write the response to the request that an ASGI task is answering."""
        return self._asgi_cycle is None or self._respond(self._asgi_cycle, response)

    def open_outlet(self) -> ChunkedOutlet:
        """Implements `Outlets`, for the request that an ASGI task is answering."""
        cycle = cast(RequestResponseCycle, self._asgi_cycle)
        return ChunkedOutlet(self, cycle, cycle.scope["http_version"], self._write, self._complete)

    def _respond(self, cycle: Cycle, response: Response) -> bool:
        """Write a response, once. False when the client does not read: then it has to be tried again."""
        if cycle.disconnected or cycle.response_complete:
            return True
        if self.flow.write_paused:
            return False
        if CLOSE in response.headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            response.headers.append(CLOSE)
        self._write(response)
        self._complete(cycle)
        return True

    def _complete(self, cycle: Cycle) -> None:
        """A response has been written."""
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._linger() if cycle.more_body else self.transport.close()
        self.on_response_complete()

    def _write(self, response: Response) -> None:
        lines = [b": ".join(header) for header in response.headers]
        dated = self.server_state.default_headers  # Date: uvicorn makes a list of it each second
        if dated is not self._dated:
            self._dated, self._date_lines = dated, b"".join([b"%b: %b\r\n" % header for header in dated])
        lines.append(self._date_lines)  # each ends with a line break
        self.transport.write(
            b"".join((STATUS_LINE[response.status], b"\r\n".join(lines), b"\r\n", response.body))
        )

    def _refuse(self, error: CellgateError) -> None:
        """Read nothing more. The client gets the error, or the responses that it still waits for."""
        if self._is_refused:
            return
        self._is_refused = True
        if not self._is_busy():
            response = self._gate.refuse(error)
        elif self._drop_broken_request():
            return  # the requests before it are answered first
        else:
            scope = self.scope
            scope["extensions"] = cast(Any, self._extensions | {REFUSED: {}})
            response = self._gate.refuse(error, scope["method"], scope["path"], list(scope["headers"]))
        self._write(response)
        self._linger()

    def _drop_broken_request(self) -> bool:
        """Drop the newest request if the rest of it will not come. Returns whether others are pending."""
        cycle = self.cycle
        if cycle is None or not cycle.more_body:
            return True
        if self.pipeline:
            self.pipeline.popleft()
            return True
        cycle.disconnected = cycle.response_complete = True
        cycle.message_event.set()
        return False

    def _linger(self) -> None:
        self._is_lingering = True
        self._due = self.loop.time() + LINGER_S
        self.transport.write_eof()
        self.flow.resume_reading()
        self._check()

    def _count_unread(self, num_bytes: int) -> None:
        self._gate.hold(num_bytes - self._num_unread)
        self._num_unread = num_bytes

    def _is_beyond_limit(self) -> bool:
        return self._max_connections is not None and len(self.connections) > self._max_connections

    async def _too_many(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        error = Overloaded("this worker has as many open connections as max_connections allows")
        self._respond_by_asgi(self._gate.refuse(error, scope["method"], scope["path"], scope["headers"]))
