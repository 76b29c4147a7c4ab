"""A handshake that is cut off is a lost connection, which is tried again; other bytes are another server."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from cellgate.errors import BadReply, CellgateError, ConnectionFailed
from cellgate.settings import Settings
from cellgate.stream.sockets import Address, address_of, connect, connect_async

HALF = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso"
CUT = [b"", HALF[:5], HALF]
CONNECTORS: list[Callable[[Address], Any]] = [connect, lambda address: asyncio.run(connect_async(address))]


@contextmanager
def answering(response: bytes) -> Iterator[Address]:
    """A listener that reads one request, answers these bytes, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(1 << 16)
                connection.sendall(response)

        thread = Thread(target=answer)
        thread.start()
        yield address_of(Settings(url=f"http://127.0.0.1:{listener.getsockname()[1]}"), {})
        thread.join()


def error_of(connector: Callable[[Address], Any], response: bytes) -> CellgateError:
    with answering(response) as address, pytest.raises(CellgateError) as raised:
        connector(address)
    return raised.value


@pytest.mark.parametrize("connector", CONNECTORS, ids=["sync", "asyncio"])
@pytest.mark.parametrize("response", CUT, ids=len)
def test_a_handshake_that_is_cut_off_is_a_lost_connection(
    connector: Callable[[Address], Any], response: bytes
) -> None:
    """It was taken for the reply of another server, and not tried again."""
    assert isinstance(error_of(connector, response), ConnectionFailed)


@pytest.mark.parametrize("connector", CONNECTORS, ids=["sync", "asyncio"])
def test_a_server_that_speaks_no_http_is_named(connector: Callable[[Address], Any]) -> None:
    assert isinstance(error_of(connector, b"220 mail.example.org ESMTP\r\n\r\n"), BadReply)
