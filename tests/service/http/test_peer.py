"""Clients that stop sending, stop waiting, or stop reading, on real sockets."""

import asyncio
import socket

import pytest

from service.http import peer
from service.http.peer import PROBE, Peer
from service.predict import Reply
from tests.service.http.listening import listening, read_all, run, until
from tests.service.http.wire import App, Wire, echoed, post

SLOW = post(b"slow", 2)
WAYS = pytest.mark.parametrize("path", [b"/predict", b"/predict?by=asgi"], ids=["fast path", "by ASGI"])


class Slow:
    """Echoes; a body that says "slow" waits until it is released."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.release = asyncio.Event()
        self.num_cancelled = 0

    async def __call__(self, body: bytes) -> Reply:
        if body == b"slow":
            self.has_begun.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.num_cancelled += 1
                raise
        return Reply(body, "m", "1", 1, 1)


@WAYS
def test_a_client_that_has_closed_its_sending_side_gets_its_responses(path: bytes) -> None:
    """It got nothing: the end of what it sends was taken for the end of the connection."""

    async def body() -> None:
        async with listening(App()) as server:
            requests = [post(b"%d" % number, number, path=path) for number in range(3)]
            expected = [echoed(b"%d" % number, number) for number in range(3)]
            assert await server.exchange(requests[0]) == expected[0]
            assert await server.exchange(b"".join(requests)) == b"".join(expected)
            assert await server.exchange(requests[0][:-1], requests[0][-1:]) == expected[0]
            assert await server.exchange(*requests, requests[0][:-1]) == b"".join(expected), "half a request"
            assert await server.exchange(requests[0] + b"POST /pre") == expected[0], "half a head"
            assert await server.exchange() == b""
            await until(lambda: server.is_empty)

    run(body)


@WAYS
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_it_also_gets_a_response_that_takes_long(path: bytes, version: bytes) -> None:
    async def body() -> None:
        slow = Slow()
        async with listening(App(slow)) as server:
            loop = asyncio.get_running_loop()
            with await server.connect() as client:
                await loop.sock_sendall(client, post(b"slow", 2, path=path).replace(b"HTTP/1.1", version))
                client.shutdown(socket.SHUT_WR)
                await slow.has_begun.wait()
                probe = b""
                if version == b"HTTP/1.1":
                    while len(probe) < len(PROBE):
                        probe += await loop.sock_recv(client, len(PROBE) - len(probe))
                    assert probe == PROBE
                else:
                    await asyncio.sleep(5 * peer.PROBE_S)  # it knows no 1xx, so that it is not probed
                slow.release.set()
                received = await read_all(client)
        head = b"" if version == b"HTTP/1.1" else b"connection: close\r\n"
        assert received == echoed(b"slow", 2, head=head)

    run(body)


@WAYS
@pytest.mark.parametrize("behind", [b"", post(b"next", 3)], ids=["alone", "with another behind"])
@pytest.mark.parametrize("resets", [True, False], ids=["reset", "close"])
def test_a_client_that_has_disconnected_cancels_its_request(path: bytes, behind: bytes, resets: bool) -> None:
    """With a request behind, nothing was read any more, and so the hang-up was not noticed."""

    async def body() -> None:
        slow = Slow()
        app = App(slow)
        async with listening(app) as server:
            client = await server.connect()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, post(b"slow", 2, path=path) + behind)
            await slow.has_begun.wait()
            if resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            await until(lambda: slow.num_cancelled and server.is_empty)
        assert [(line["status"], line["code"]) for line in app.log] == [(499, "client_disconnected")]
        assert app.gate.num_running == 0

    run(body)


@WAYS
def test_half_a_body_and_no_more_is_a_disconnect(path: bytes) -> None:
    async def body() -> None:
        app = App()
        async with listening(app) as server:
            assert await server.exchange(post(b"slow", path=path)[:-1]) == b""
            await until(lambda: app.log)
        assert [(line["status"], line["code"]) for line in app.log] == [(499, "client_disconnected")]

    run(body)


@WAYS
@pytest.mark.parametrize("behind", [0, 3])
def test_a_client_that_does_not_read_is_disconnected(
    path: bytes, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a request behind, the connection stayed open for ever."""
    monkeypatch.setattr("service.http.peer.WRITE_S", 0.2)
    monkeypatch.setattr("service.http.timed.CHECK_S", 0.1)

    async def large(_body: bytes) -> Reply:
        return Reply(b" " * (16 << 20), "m", "1", 1, 1)

    async def body() -> None:
        async with listening(App(large)) as server:
            client = await server.connect(receive_buffer=4096)
            request = post(b"x", path=path)
            await asyncio.get_running_loop().sock_sendall(client, request * (1 + behind))
            await until(lambda: server.state.total_requests)
            await until(lambda: server.is_empty)
            client.close()

    run(body)


def test_a_stop_does_not_wait_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.timed.LINGER_S", 0.1)

    async def large(_body: bytes) -> Reply:
        return Reply(b" " * (16 << 20), "m", "1", 1, 1)

    async def body() -> None:
        async with listening(App(large)) as server:
            client = await server.connect(receive_buffer=4096)
            await asyncio.get_running_loop().sock_sendall(client, post(b"x") * 3)
            await until(lambda: server.state.total_requests)
            for connection in list(server.state.connections):
                connection.shutdown()
            await until(lambda: server.is_empty)
            client.close()

    run(body)


class Buffer(Wire):
    """A transport whose buffer the test empties."""

    size = 0

    def get_write_buffer_size(self) -> int:
        return self.size


def test_a_client_that_reads_slowly_is_not_stalled() -> None:
    transport = Buffer()
    client = Peer(transport)
    assert not client.is_stalled(1000)
    transport.size = 100
    client.pause(0)
    assert not client.is_stalled(peer.WRITE_S - 1)
    transport.size = 99
    assert not client.is_stalled(peer.WRITE_S + 1), "it has read a byte"
    assert client.is_stalled(2 * peer.WRITE_S + 1)
    client.resume()
    assert not client.is_stalled(10 * peer.WRITE_S)


def test_open_connections_are_counted_by_the_gate() -> None:
    """Also those beyond the maximum, until they are closed."""

    async def body() -> None:
        app = App()
        async with listening(app, limit_concurrency=1) as server:
            clients = [await server.connect() for _ in range(5)]
            await until(lambda: app.gate.num_connections == len(server.state.connections) >= 2)
            for client in clients:
                client.close()
            await until(lambda: app.gate.num_connections == 0)

    run(body)
