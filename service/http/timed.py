"""When a connection is closed: it is overdue, its client does not read, or has disconnected.

It knows the timer of a connection and its peer; it knows nothing of requests but whether one is pending.
"""

import asyncio
from math import inf
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.peer import PROBE_S, Peer

CHECK_S = 10.0  # at the latest
LINGER_S = 2.0  # for a client to read and to close


class Cycle(Protocol):
    """A request and its response on a connection: what uvicorn reads and writes of it."""

    keep_alive: bool
    more_body: bool
    disconnected: bool
    response_started: bool
    response_complete: bool
    message_event: asyncio.Event


class TimedProtocol(HttpToolsProtocol):
    """One timer a connection, which checks whether it is to be closed."""

    cycle: Cycle | None  # type: ignore[assignment]  # of the newest request
    _asgi_cycle: RequestResponseCycle | None = None  # answered by an ASGI task; later requests wait
    _peer: Peer
    is_in_parts = False  # a response is being written part by part

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due = inf  # for the next request, or the rest of its head
        self._has_ended = False  # the client sends nothing more; pending requests are answered
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._peer = Peer(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
        begun = self._asgi_cycle
        if begun is not None and not begun.response_complete:  # uvicorn tells the newest request only
            begun.disconnected = True
            begun.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as responses are written."""
        super().pause_writing()
        self._peer.pause(self.loop.time())

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._peer.resume()

    def shutdown(self) -> None:
        """The server stops. A client that does not read does not hold it."""
        super().shutdown()
        if self.flow.write_paused:
            self.loop.call_later(LINGER_S, self.transport.abort)

    def _is_busy(self) -> bool:
        """Whether a request is still to be answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _check_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """Close what is overdue or useless; check again when it may be, at the latest after `CHECK_S`."""
        now, is_busy, is_closing = self.loop.time(), self._is_busy(), self.transport.is_closing()
        if self._peer.is_stalled(now) or (is_busy and not is_closing and self._is_lost()):
            self.transport.abort()
            return
        left = self._due - now
        if left <= 0 and not is_busy:
            if is_closing:  # but not closed: the client does not read
                self.transport.abort()
                return
            self.transport.close()
            left = LINGER_S
        # A hang-up behind what has not been read is not reported, nor is a reset after a hang-up.
        is_watched = is_busy and (self._has_ended or self.pipeline)
        self._check_in(min(max(left, 0.1), PROBE_S if is_watched else CHECK_S))

    def _is_lost(self) -> bool:
        """Whether no client waits for the response."""
        begun = self._asgi_cycle
        is_in_response = begun is not None and begun.response_started and not begun.response_complete
        is_writable = not (is_in_response or self.is_in_parts or self.flow.write_paused)
        return self._peer.is_lost(can_probe=is_writable and self.parser.get_http_version() != "1.0")
