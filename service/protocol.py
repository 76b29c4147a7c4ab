"""uvicorn's HTTP protocol with what it leaves open: a whole reply at once, bounds on the head, a soft close.

By ASGI's own messages a reply is two of them, each checked, rendered and written by itself: two system calls,
two packets, two wake-ups of the client. The ASGI extension `WHOLE_REPLY` is one call for all of it.
"""

import asyncio
import functools
from math import inf
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import BadHttp, CellgateError, HeadTooLarge, Overloaded
from service.front import (
    CLOSE,
    PROBLEM,
    WHOLE_REPLY,
    Headers,
    Receive,
    Scope,
    Send,
    retry_headers,
    write_problem,
)

MAX_HEAD_BYTES = 64 << 10  # before the read in which the head ends
HEAD_S = 10.0  # for a head, from its first byte to its last
LINGER_S = 2.0  # for a client that is still sending to see why it need not


class CellgateProtocol(HttpToolsProtocol):
    """`uvicorn.Config(http=…)`. Connections beyond `limit_concurrency` are answered 503, and closed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._most, self.limit_concurrency = (
            self.limit_concurrency,
            None,
        )  # uvicorn's own answer is plain text
        self._serving = self.app
        self._is_in_head = False
        self._head_bytes = 0
        self._is_lingering = False
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
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; of one that is answered already they are thrown away."""
        if self._is_lingering:
            return
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"the head has more than {MAX_HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """The first byte of a request's head has come."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0
        self._due = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        """A request's head has been read: its answer begins here."""
        self._is_in_head = False
        self._due = inf
        is_full = self._most is not None and len(self.connections) > self._most
        self.app = cast(Any, _too_many) if is_full else self._serving
        if is_full:
            self.connections.discard(self)  # it is about to be closed, and stands in nobody's way
        super().on_headers_complete()
        self.scope["extensions"] = {WHOLE_REPLY: cast(Any, functools.partial(self._reply, self.cycle))}

    def on_response_complete(self) -> None:
        """Go on with a pipelined request, or wait for the next."""
        self.server_state.total_requests += 1
        if self._is_lingering or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._due = self.loop.time() + self.timeout_keep_alive

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(BadHttp(msg))

    def _refuse(self, error: CellgateError) -> None:
        status, body = write_problem(error)
        self._write(status, [PROBLEM, (b"content-length", b"%d" % len(body)), CLOSE], body)
        self._linger()

    def _reply(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> bool:
        """Write a reply, once. False when the client does not read: then it has to wait, as `send` knows to.

        `headers` are ours, sound and complete: names in lower case, content-length among them.
        """
        if cycle.disconnected:
            return True
        if cycle.flow.write_paused:
            return False
        if CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append(CLOSE)
        self._write(status, headers, body)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._linger() if cycle.more_body else self.transport.close()
        self.on_response_complete()
        return True

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))

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
            self.transport.close()
        else:
            self._clock = self.loop.call_later(min(max(left, 0.1), HEAD_S), self._look)


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    error = Overloaded("this worker has as many open connections as it takes (max_connections)")
    status, body = write_problem(error)
    headers = [PROBLEM, (b"content-length", b"%d" % len(body)), CLOSE, *retry_headers(error)]
    scope["extensions"][WHOLE_REPLY](status, headers, body)
