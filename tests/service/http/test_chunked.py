"""Responses in parts on real sockets: clients that read slowly, stop reading, hang up, or send more."""

import asyncio
import socket
from typing import Any

import pytest

from service.http import peer
from service.http.events import EventHandler
from service.http.messages import Request, Response
from service.predict import Emit, Event
from tests.service.http.gates import make_gate
from tests.service.http.listening import Listening, listening, read_all, run, until
from tests.service.http.test_events import ACCEPT, WAYS
from tests.service.http.wire import App, echoed, post

LARGE = b'"%b"' % (b"x" * (64 << 10))
BUFFERED = 8 << 20  # bytes that the kernel and the transport take, at the very most


class Source:
    """Emits large events, up to `most`; a body that says "small" gets small ones, as soon as it may."""

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self.num_emitted = 0
        self.has_ended = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, request: Request, emit: Emit) -> Response:
        is_small = request.body == b"small"
        try:
            for _ in range(self.most):
                self.num_emitted += 1
                await emit(Event("steps", "a", b"1" if is_small else LARGE))
                if is_small:
                    await self.release.wait()
                    await asyncio.sleep(0)
            await emit(Event("end", "end", b"1"))
        finally:
            self.has_ended.set()
        return Response(200, [], b"")


def app_of(source: EventHandler) -> App:
    log: list[dict[str, Any]] = []
    app = App(gate=make_gate(events=source, access_log=log.append, body_timeout_s=30))
    app.log = log
    return app


async def send(client: socket.socket, *requests: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, b"".join(requests))


async def has_settled(source: Source) -> None:
    """Wait until it emits no more."""
    before = -1
    while before != source.num_emitted:
        before = source.num_emitted
        await asyncio.sleep(0.3)


@WAYS
def test_a_slow_reader_is_paused_and_gets_everything(path: bytes) -> None:
    async def body() -> None:
        source = Source(most=150)
        async with listening(app_of(source)) as server:
            with await server.connect(receive_buffer=1 << 16) as client:
                await send(client, post(b"1", head=ACCEPT + b"Connection: close\r\n", path=path))
                await has_settled(source)
                assert source.num_emitted * len(LARGE) < BUFFERED
                received = await read_all(client)
        assert received.count(b"event: steps") == 150 and received.endswith(b"\r\n0\r\n\r\n")

    run(body)


@WAYS
def test_a_client_that_reads_nothing_is_disconnected_and_the_work_ends(
    path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "WRITE_S", 0.2)
    monkeypatch.setattr("service.http.timed.CHECK_S", 0.1)

    async def body() -> None:
        source = Source()
        app = app_of(source)
        async with listening(app) as server:
            with await server.connect(receive_buffer=4096) as client:
                await send(client, post(b"1", head=ACCEPT, path=path))
                await source.has_ended.wait()
                await until(lambda: server.is_empty)
        assert [line["status"] for line in app.log] == [499]

    run(body)


@WAYS
@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
def test_a_client_that_hangs_up_stops_the_work_at_the_next_event(
    path: bytes, resets: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        source = Source()
        app = app_of(source)
        async with listening(app) as server:
            client = await server.connect()
            await send(client, post(b"small", head=ACCEPT, path=path))
            assert b"event: steps" in await asyncio.get_running_loop().sock_recv(client, 1 << 16)
            if resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            source.release.set()  # the next events find nobody
            await source.has_ended.wait()
            await until(lambda: app.log and server.is_empty)
        assert [(line["status"], line["code"]) for line in app.log] == [(499, "client_disconnected")]
        assert app.gate.num_running == 0

    run(body)
    assert not caplog.records


@WAYS
def test_a_client_that_has_closed_its_sending_side_gets_its_events(path: bytes) -> None:
    """No probe is written into the response: it would not be HTTP."""

    async def body() -> None:
        source = Source(most=1)
        async with listening(app_of(source)) as server:
            with await server.connect() as client:
                await send(client, post(b"small", head=ACCEPT, path=path))
                received = await asyncio.get_running_loop().sock_recv(client, 1 << 16)
                client.shutdown(socket.SHUT_WR)
                await asyncio.sleep(5 * peer.PROBE_S)
                source.release.set()
                received += await read_all(client)
        assert received.count(b"HTTP/1.1") == 1 and received.endswith(b"\r\n0\r\n\r\n")

    run(body)


@WAYS
@pytest.mark.parametrize("behind", [b"/predict", b"/predict?by=asgi"])
def test_requests_behind_events_wait_for_the_last(path: bytes, behind: bytes) -> None:
    async def body() -> None:
        source = Source(most=3)
        async with listening(app_of(source)) as server:
            with await server.connect() as client:
                requests = [post(b"small", head=ACCEPT, path=path), post(b"ok", 2, path=behind)]
                last = ACCEPT + b"Connection: close\r\n"
                await send(client, *requests, post(b"small", 3, head=last, path=behind))
                await asyncio.sleep(3 * peer.PROBE_S)
                source.release.set()
                received = await read_all(client)
        first, second = received.split(echoed(b"ok", 2))
        for response, number in ((first, 1), (second, 3)):
            assert response.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
            assert b"x-request-id: r%d\r\n" % number in response
            assert response.count(b"event: steps") == 3 and response.endswith(b"\r\n0\r\n\r\n")

    run(body)


@WAYS
def test_garbage_behind_events_does_not_cost_them_their_end(path: bytes) -> None:
    async def body() -> None:
        source = Source(most=2)
        async with listening(app_of(source)) as server:
            with await server.connect() as client:
                await send(client, post(b"small", head=ACCEPT, path=path), b"\x00\x01 not HTTP\r\n\r\n")
                source.release.set()
                received = await read_all(client)
        assert received.count(b"HTTP/1.1") == 1 and received.endswith(b"\r\n0\r\n\r\n")

    run(body)


def test_many_slow_readers_are_all_paused() -> None:
    async def body() -> None:
        source = Source(most=10_000)
        app = app_of(source)
        async with listening(app) as server:
            clients = [await _begin(server, number) for number in range(20)]
            await has_settled(source)
            assert source.num_emitted * len(LARGE) < len(clients) * BUFFERED
            with await server.connect() as other:
                await send(other, post(b"ok", head=b"Connection: close\r\n"))
                assert await read_all(other) == echoed(b"ok", head=b"connection: close\r\n")
            for client in clients:
                client.close()
            await until(lambda: len(app.log) == 21)
        assert app.gate.num_running == 0

    run(body)


async def _begin(server: Listening, number: int) -> socket.socket:
    client = await server.connect(receive_buffer=4096)
    await send(client, post(b"1", number, head=ACCEPT))
    return client
