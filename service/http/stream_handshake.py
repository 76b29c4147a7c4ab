"""Whether a request may become a stream, and the response that makes it one (RFC 6455, 4.2).

A browser cannot set headers of a WebSocket, so it offers its API key as a subprotocol: `cellgate.key.…`,
beside `cellgate.v1`, which the server selects. A key never stands in a URL, which proxies log.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.exceptions import InvalidHeader
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request as Opening
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from service.errors import BadHeader, UpgradeRequired
from service.http.messages import Header, Headers

SUBPROTOCOL = Subprotocol("cellgate.v1")
_KEY_PREFIX = b"cellgate.key."
_READ = (b"connection", b"upgrade")  # beside those that begin with sec-websocket-


@dataclass(slots=True, frozen=True)
class Accepted:
    """A handshake that the server accepts."""

    headers: Headers  # of the response with status 101
    extensions: Sequence[Extension]


def accept(headers: Headers, *, compresses: bool) -> Accepted:
    """Accept the handshake of a GET over HTTP/1.1 whose header names are in lower case.

    Raises UpgradeRequired where it asks for another protocol, or BadHeader.
    """
    protocol = ServerProtocol(
        select_subprotocol=_select,
        extensions=[ServerPerMessageDeflateFactory()] if compresses else None,
    )
    lines = [
        b"%b: %b\r\n" % each for each in headers if each[0].startswith(b"sec-websocket-") or each[0] in _READ
    ]
    protocol.receive_data(b"GET / HTTP/1.1\r\n%b\r\n" % b"".join(lines))
    events = protocol.events_received()
    if not events or not isinstance(events[0], Opening):
        raise BadHeader(f"not a WebSocket handshake: {protocol.parser_exc or 'unreadable headers'}")
    response = protocol.accept(events[0])
    fault = protocol.handshake_exc
    is_other_version = isinstance(fault, InvalidHeader) and fault.name == "Sec-WebSocket-Version"
    if response.status_code == 426 or is_other_version:
        raise UpgradeRequired(f"not a WebSocket handshake: {fault}")
    if response.status_code != 101:
        raise BadHeader(f"not a WebSocket handshake: {fault}")
    answer = [(name.lower().encode(), value.encode()) for name, value in response.headers.raw_items()]
    return Accepted([each for each in answer if each[0] != b"date"], protocol.extensions)


def key_header(headers: Headers) -> Header | None:
    """The API key that a browser offers as a subprotocol, as the header in which others send it.

    Raises BadHeader.
    """
    for name, value in headers:
        if name != b"sec-websocket-protocol":
            continue
        for offered in value.split(b","):
            if (offered := offered.strip()).startswith(_KEY_PREFIX):
                return b"x-api-key", _decode_key(offered.removeprefix(_KEY_PREFIX))
    return None


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Most clients offer none, and get none."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def _decode_key(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise BadHeader(
            "the subprotocol cellgate.key. ends in the API key as base64url (RFC 4648, 5)"
        ) from error
