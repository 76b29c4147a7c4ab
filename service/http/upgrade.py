"""Turns the connection of a request to `/stream` into a stream.

    head with Upgrade ──to /stream──→ admitted ─→ 101, and another protocol object has the connection
                          │               └─→ an HTTP error, lingering
                          └──any other, or not alone on the connection──→ read as HTTP/1.1 (`connection`)

The connection keeps its place among those that the server counts, limits and closes when it stops.
"""

from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from service.errors import CellgateError
from service.http.connection import Connection
from service.http.gate import Gate
from service.http.heads import MAX_HEAD_BYTES
from service.http.messages import Request
from service.http.stream_socket import StreamSocket
from service.http.stream_sockets import PATH

_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"
_BODY_HEADERS = (b"content-length", b"transfer-encoding")


class UpgradingConnection(Connection):
    """Hands a connection over to a `StreamSocket`."""

    def _upgrade(self, rest: bytes) -> bool:
        """Open a stream, or refuse it; False if the request is to be read as HTTP."""
        path, _, query = self.url.partition(b"?")
        local = self._gate.router.local(unquote(path.decode("latin-1")))
        if local != PATH or self._gate.streams is None or not self._is_alone():
            return False
        request = Request("GET", local, self.headers, query=query)
        try:
            accepted = self._gate.admit_stream(request)
        except CellgateError as error:
            self._is_refused = True
            self._write(self._gate.refuse(error, "GET", local, self.headers, PATH))
            self._linger()
            return True
        lines = [b"%b: %b\r\n" % each for each in (*accepted.headers, *self.server_state.default_headers)]
        transport = self.transport
        transport.write(b"".join((_SWITCHING, *lines, b"\r\n")))
        request.headers = []  # they are not read again, and a key may be among them
        self._detach()
        end = partial(_end, self._gate, self.connections)
        socket = self._gate.streams.open(transport, request, accepted, end)
        self.connections.add(cast(Any, socket))
        transport.set_protocol(socket)
        if rest:
            socket.data_received(rest)
        return True

    def _is_alone(self) -> bool:
        """Whether a GET without a body has the connection to itself, and would not be refused as HTTP."""
        return (
            self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and not self._is_busy()
            and not any(name in _BODY_HEADERS for name, _ in self.headers)
            and self._is_valid_host(self._hosts)
            and self._head_size() <= MAX_HEAD_BYTES
            and not (self._is_extra and self._is_beyond_limit())
        )


def _end(gate: Gate, connections: set[Any], socket: StreamSocket) -> None:
    """A stream is closed. (It must not keep the connection's first protocol object in memory.)"""
    connections.discard(socket)
    gate.num_connections -= 1
