"""Whether the client at the other end of a connection still waits, and still reads.

A client that closes its connection and one that closes only its sending side (RFC 9293, 3.6; `nc -N`) look
alike: both send FIN. They differ once something is written to them: the first answers with a reset. So an
interim response is written, which clients may discard (RFC 9110, 15.2.1), and the kernel is asked later.

    FIN ──PROBE_S──→ 100 Continue ──PROBE_S──→ reset? no client waits: the request is cancelled
                                               else the client gets its response
"""

import asyncio
import socket
from math import inf

PROBE_S = 0.1  # requests that take less are answered without a probe
WRITE_S = 30.0  # in which a client must have read something of what is written for it
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Of the kernel's tcp_states.h: the first byte of TCP_INFO.
CLOSED, CLOSE_WAIT = 7, 8


class Peer:
    """The client of one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_probed = False
        self._num_unread = 0  # bytes that wait in the transport's buffer
        self._unread_since = inf

    def is_lost(self, *, can_probe: bool) -> bool:
        """Whether no client waits for a response any more.

        `can_probe`: an interim response may be written now, which decides it at a later call.
        """
        state = self._tcp_state()
        if state == CLOSE_WAIT and can_probe and not self._is_probed:
            self._is_probed = True
            self._transport.write(PROBE)
        return state == CLOSED

    def pause(self, now: float) -> None:
        """More waits to be read than the transport's limit."""
        self._num_unread = self._transport.get_write_buffer_size()
        self._unread_since = now

    def resume(self) -> None:
        """The client has read most of what waited."""
        self._unread_since = inf

    def is_stalled(self, now: float) -> bool:
        """Whether the client has read nothing for `WRITE_S` although something waits."""
        if self._unread_since == inf:
            return False
        num_unread = self._transport.get_write_buffer_size()
        if num_unread < self._num_unread:
            self._num_unread, self._unread_since = num_unread, now
        return now - self._unread_since >= WRITE_S

    def _tcp_state(self) -> int | None:
        """None: not TCP, or already closed."""
        connected = self._transport.get_extra_info("socket")
        if connected is None or connected.fileno() < 0:
            return None
        try:
            return int(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])
        except OSError:
            return None
