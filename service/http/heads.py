"""The heads of a connection's requests, with the bounds on them that uvicorn lacks: time, size, one Host.

It knows nothing of bodies, responses or the gate.
"""

import re
from abc import abstractmethod
from typing import Any

from service.errors import BadHttp, CellgateError, HeadTooLarge
from service.http.timed import TimedProtocol

MAX_HEAD_BYTES = 64 << 10
HEAD_S = 10.0  # for a head, from its first byte to its last
HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%\[\]:-]*")  # RFC 3986: uri-host [":" port]; "," joins two


class Refused(Exception):
    """Ends the parser's work on what has been read."""


class HeadProtocol(TimedProtocol):
    """Reads the heads of requests. A subclass continues in `on_headers_complete`, with `_check_head`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hosts: list[bytes] = []  # the values of Host in the head that is read
        self._valid_hosts = [b""]  # the last valid ones: those of all requests, as a rule
        self._is_in_head = False
        self._head_bytes = 0
        self._read_bytes = 0  # of the read under way

    def on_message_begin(self) -> None:
        """The first byte of a request's head."""
        self.url = b""
        self.headers = []
        self._hosts = []
        self.expect_100_continue = False
        self._is_in_head = True
        self._head_bytes = -self._read_bytes  # what preceded it in the same read does not count
        self._due = self.loop.time() + HEAD_S

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head, or a trailer."""
        name = name.lower()
        if name == b"host":
            self._hosts.append(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    @abstractmethod
    def _refuse(self, error: CellgateError) -> None:
        """Read nothing more."""

    def _check_growth(self, num_bytes: int) -> None:
        """So many bytes of a head that is not complete have been read. Refuses one that is too long."""
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_too_large())

    def _check_head(self) -> None:
        """Refuse a complete head that is too long, or that does not name one host. Raises Refused."""
        is_long = (
            self._head_bytes >= 0 or self._read_bytes > MAX_HEAD_BYTES
        )  # in several reads, or a long one
        if is_long and self._head_size() > MAX_HEAD_BYTES:
            self._refuse(_too_large())
            raise Refused
        if self._hosts != self._valid_hosts:
            self._check_hosts(self._hosts)

    def _check_hosts(self, hosts: list[bytes]) -> None:
        """One valid Host, as HTTP/1.1 requires: two could be routed by one, and answered by the other."""
        is_one = self._is_valid_host(hosts)
        if not is_one and (hosts or self.parser.get_http_version() == "1.1"):
            self._refuse(BadHttp("expected one header Host with a host and a port (RFC 9112, 3.2)"))
            raise Refused
        if is_one:
            self._valid_hosts = hosts

    def _is_valid_host(self, hosts: list[bytes]) -> bool:
        return len(hosts) == 1 and HOST.fullmatch(hosts[0]) is not None

    def _head_size(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"the head has more than {MAX_HEAD_BYTES} bytes")
