"""The life of a connection and its bounds."""

import asyncio
import json

import pytest

from service.http.connection import MAX_PIPELINED, SPARE
from service.http.fast_path import CellgateProtocol
from service.http.gate import COUNTED_REPLY
from service.http.heads import MAX_HEAD_BYTES
from service.http.messages import Request, Response
from service.memory import MemoryBudget
from service.predict import Reply
from tests.service.http.gates import make_gate
from tests.service.http.listening import listening, read_all, run, until
from tests.service.http.wire import HEAD, App, echoed, post, serve


def test_a_body_that_is_too_large_is_refused_on_the_fast_path_and_by_asgi() -> None:
    for reads in ([post(b"x" * 101)], [post(b"x" * 101)[:-50], b"x" * 50]):
        written = serve(App(), *reads)
        assert written[0].startswith(b"HTTP/1.1 413 ") and b"connection: close\r\n" in written[0]


def test_broken_chunks_are_refused_and_logged() -> None:
    broken = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\nxyz\r\n"
    app = App()
    assert serve(app, broken)[0].startswith(b"HTTP/1.1 400 ")
    assert [(line["status"], line["code"]) for line in app.log] == [(400, "bad_http")] and app.by_asgi == []


GARBAGE = b"\x00\x01 not HTTP\r\n\r\n"


def test_garbage_behind_a_request_does_not_cost_it_its_response() -> None:
    app = App()
    assert serve(app, post(b"ok") + GARBAGE, post(b"no"))[:2] == [echoed(b"ok"), b"<eof>"]
    assert [line["status"] for line in app.log] == [200], "nothing else is sent"


def test_a_body_that_breaks_off_by_asgi_ends_its_request_and_the_connection() -> None:
    app = App()
    head = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\n"
    refused, *rest = serve(app, head, b"xyz\r\n", post(b"no"))
    assert refused.startswith(b"HTTP/1.1 400 ") and rest[0] == b"<eof>"
    assert b"x-request-id: r1\r\n" in refused
    (line,) = app.log  # it was logged a second time, as a disconnection
    assert (line["status"], line["path"], line["id"]) == (400, "/predict", "r1")
    assert app.gate.num_running == 0


def test_a_body_that_breaks_off_does_not_cost_the_requests_before_it_their_responses() -> None:
    app = App()
    broken = HEAD % (b"/predict", 3, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\nxyz\r\n"
    written = serve(app, post(b"one", 1) + post(b"two", 2) + broken)
    assert written[:3] == [echoed(b"one", 1), echoed(b"two", 2), b"<eof>"]


def test_a_long_request_does_not_count_as_the_head_of_the_next() -> None:
    body = b"x" * 70_000
    app = App(max_body_bytes=1 << 20)
    following = post(b"ok", 2)
    assert serve(app, post(body) + following[:9], following[9:]) == [echoed(body), echoed(b"ok", 2)]


def test_a_connection_has_a_bound_on_waiting_requests() -> None:
    app = App()
    written = serve(app, b"".join(post(b"", number) for number in range(MAX_PIPELINED + 50)), turns=2000)
    assert written[:-1] == [echoed(b"", number) for number in range(MAX_PIPELINED + 1)]
    assert written[-1] == b"<eof>"


@pytest.mark.parametrize("body_apart", [False, True])
def test_an_upgrade_is_declined_and_the_body_stays_a_body(body_apart: bool) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    body = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    ask = post(body, head=offer)
    cut = len(ask) - len(body) if body_apart else len(ask)
    app = App()
    written = (
        serve(app, ask[:cut], ask[cut:], post(b"next", 2))
        if body_apart
        else serve(app, ask, post(b"next", 2))
    )
    assert written == [echoed(body), echoed(b"next", 2)]


def test_connect_is_refused() -> None:
    assert serve(App(), b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith(b"HTTP/1.1 400 ")


def by_asgi(body: bytes, number: int = 1, head: bytes = b"") -> bytes:
    """A request that cannot take the fast path."""
    return post(body, number, head, path=b"/predict?by=asgi")


def test_a_response_by_asgi_is_one_write_and_the_connection_stays_open() -> None:
    app = App()
    assert serve(app, by_asgi(b"ok", 1), by_asgi(b"ok", 2)) == [echoed(b"ok", 1), echoed(b"ok", 2)]
    assert app.by_asgi == ["/predict"] * 2


def test_pipelined_requests_are_answered_in_order() -> None:
    requests = b"".join(by_asgi(b"ok", number) for number in range(3))
    assert serve(App(), requests, turns=20) == [echoed(b"ok", number) for number in range(3)]


@pytest.mark.parametrize(
    "request_",
    [by_asgi(b"ok", head=b"Connection: close\r\n"), by_asgi(b"ok").replace(b"HTTP/1.1", b"HTTP/1.0")],
)
def test_the_connection_closes_when_the_client_asks_for_it(request_: bytes) -> None:
    assert serve(App(), request_)[:2] == [echoed(b"ok", head=b"connection: close\r\n"), b"<closed>"]


def test_a_client_that_expects_100_continue_gets_it() -> None:
    request = by_asgi(b"ok", head=b"Expect: 100-continue\r\n")
    assert serve(App(), request[:-2], request[-2:]) == [b"HTTP/1.1 100 Continue\r\n\r\n", echoed(b"ok")]


def test_a_head_that_is_too_long_is_refused_and_logged() -> None:
    app = App()
    head = b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1)
    refused, *rest = serve(app, head[:9], head[9:])
    assert (
        refused.startswith(b"HTTP/1.1 431 ") and b"connection: close\r\n" in refused and rest[0] == b"<eof>"
    )
    assert [(line["status"], line["code"]) for line in app.log] == [(431, "head_too_large")]


def test_connections_beyond_the_bound_are_refused_logged_and_closed() -> None:
    app = App()

    refused, *rest = serve(app, post(b"ok"), others=1, limit_concurrency=1)
    assert refused.startswith(b"HTTP/1.1 503 ") and b'"overloaded"' in refused
    assert b"retry-after: " in refused and rest[0] == b"<closed>"
    assert [(line["status"], line["path"], line["code"]) for line in app.log] == [
        (503, "/predict", "overloaded")
    ]


def test_every_response_has_a_date_where_the_server_has_a_clock() -> None:
    def set_date(protocol: CellgateProtocol) -> None:
        protocol.server_state.default_headers = [(b"date", b"Sun, 29 Nov 2026 00:00:00 GMT")]

    for request in (post(b"ok"), by_asgi(b"ok"), b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", GARBAGE):
        written = b"".join(serve(App(), request, act=set_date))
        assert written.count(b"date: Sun, 29 Nov 2026 00:00:00 GMT\r\n") == 1


def test_a_connection_beyond_the_bound_is_refused_in_its_apis_words() -> None:
    [refused, *_] = serve(App(), post(b"ok", 7, path=b"/v2/models/m/infer"), others=1, limit_concurrency=1)
    head, body = refused.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"content-type: application/json\r\n" in head
    assert b"x-request-id: r7" in head, "the client's"
    assert set(json.loads(body)) == {"error", "code"}


def test_idle_connections_far_beyond_the_bound_are_reset() -> None:
    """Each kept a file descriptor until it sent a request, until none was left."""

    async def body() -> None:
        async with listening(App(), limit_concurrency=8) as server:
            clients = [await server.connect() for _ in range(100)]
            await until(lambda: 8 < len(server.state.connections) <= 8 + 8 // SPARE + 1)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(clients[0], post(b"ok"))
            assert await loop.sock_recv(clients[0], 1000) == echoed(b"ok"), "the others are served"
            for client in clients:
                client.close()
            await until(lambda: server.is_empty)
            assert await server.exchange(post(b"ok")) == echoed(b"ok")

    run(body)


def test_idle_connections_just_beyond_the_bound_are_closed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.connection.LINGER_S", 0.1)

    async def body() -> None:
        async with listening(App(), limit_concurrency=1, timeout_keep_alive=1000) as server:
            first = await server.connect()
            await until(lambda: len(server.state.connections) == 1)
            second = await server.connect()
            assert await read_all(second) == b""
            second.close()
            assert len(server.state.connections) == 1
            first.close()

    run(body)


@pytest.mark.parametrize(
    "line", [b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [None, 9, 40_000])
def test_a_long_head_is_refused_alike_however_it_is_read(line: bytes, cut: int | None) -> None:
    """In one read it was 400, or accepted."""
    head = line % (b"x" * (MAX_HEAD_BYTES + 1))
    reads = [head] if cut is None else [head[:cut], head[cut:]]
    app = App()
    refused, *rest = serve(app, *reads)
    assert refused.startswith(b"HTTP/1.1 431 ") and rest[0] == b"<eof>"
    assert [line["code"] for line in app.log] == ["head_too_large"]
    head = line % (b"x" * (MAX_HEAD_BYTES - 1000))
    reads = [head] if cut is None else [head[:cut], head[cut:]]
    assert b"".join(serve(App(), *reads)).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("path", [b"/predict", b"/predict?by=asgi", b"/v2/models/m/infer"])
def test_a_forced_stop_answers_in_the_apis_words_with_the_requests_id(path: bytes) -> None:
    """uvicorn cancels what a stop has waited for in vain; its own response is plain text."""

    async def wait(_body: bytes) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    app = App(wait)

    def force(protocol: CellgateProtocol) -> None:
        def cancel() -> None:
            app.gate.start_draining()
            for task in protocol.tasks:
                task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")

        protocol.loop.call_later(0.05, cancel)

    [answer, *_] = serve(app, post(b"x", 7, path=path), act=force, turns=3, pause_s=0.1)
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"x-request-id: r7" in head
    assert b"retry-after: 1" in head and b"connection: close" in head
    assert json.loads(body)["code"] == "draining" and (b"problem+json" in head) != (b"v2" in path)
    assert [(line["status"], line["code"], line["id"]) for line in app.log] == [(503, "draining", "r7")]


@pytest.mark.parametrize("path", [b"/predict", b"/other"])
def test_a_response_that_its_client_does_not_read_counts_as_memory(path: bytes) -> None:
    """Thousands of connections that read nothing held 64 MB each, which counted nowhere."""
    budget = MemoryBudget(1 << 40)
    used: list[int] = []
    large = b"1" * COUNTED_REPLY

    def stop_reading(protocol: CellgateProtocol) -> None:
        wire = protocol.transport
        wire.get_write_buffer_size = lambda: 1234  # type: ignore[method-assign]
        write = wire.write

        def write_and_pause(data: bytes) -> None:
            write(data)
            used.append(budget.used)
            protocol.pause_writing()

        wire.write = write_and_pause  # type: ignore[method-assign,assignment]
        protocol.loop.call_later(0.05, lambda: used.append(budget.used))

    async def application(request: Request) -> Response:
        return Response(200, [(b"content-length", b"%d" % len(request.body))], request.body)

    gate = make_gate(application=application, budget=budget, max_body_bytes=len(large))
    writes = serve(App(gate=gate), post(large, path=path), act=stop_reading, turns=10, pause_s=0.01)
    assert len(writes) == 1 and writes[0].endswith(large)
    assert used == [len(large), 1234] and budget.used == 0
