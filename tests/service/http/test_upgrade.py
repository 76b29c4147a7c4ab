"""When a request becomes a stream: however its bytes arrive, and only alone on its connection."""

from typing import Any, cast

import pytest

from service.http.fast_path import CellgateProtocol
from service.http.stream_bounds import StreamBounds
from service.http.stream_sockets import StreamSockets
from tests.service.http.wire import App, echoed, post, serve

HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\n"
BOUNDS = StreamBounds(max_channels=1, max_frame_bytes=1000, idle_s=100, ping_s=10)


def answers(*parts: bytes) -> list[bytes]:
    """What a connection writes that reads these parts, one after the other."""

    def open_streams(protocol: CellgateProtocol) -> None:
        protocol._gate.streams = StreamSockets(
            cast(Any, None), BOUNDS, max_streams=1, compresses=False, guard=None, cors=None
        )

    return serve(App(), *parts, act=open_streams)


@pytest.mark.parametrize("cut", range(1, len(HANDSHAKE % b""), 9))
def test_a_handshake_is_accepted_however_its_bytes_arrive(cut: int) -> None:
    handshake = HANDSHAKE % b""
    (answer,) = answers(handshake[:cut], handshake[cut:])
    assert answer.startswith(ACCEPTED) and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer


def test_a_handshake_behind_a_request_that_is_answered_is_accepted() -> None:
    first, second = answers(post(b"{}"), HANDSHAKE % b"")
    assert first == echoed(b"{}") and second.startswith(ACCEPTED)


@pytest.mark.parametrize(
    "parts",
    [
        (post(b"{}") + HANDSHAKE % b"",),  # the request before has no response yet
        (HANDSHAKE % b"Content-Length: 1\r\n" + b"x",),
        (HANDSHAKE.replace(b"GET", b"POST") % b"",),
        (HANDSHAKE.replace(b"/stream", b"/other") % b"",),
    ],
)
def test_any_other_handshake_is_read_as_http(parts: tuple[bytes, ...]) -> None:
    *_, last = answers(*parts)
    assert last.startswith(b"HTTP/1.1 204 ")  # of the application, which answers 426
