"""A whole reply in one write, whatever HTTP asks for around it: on the short way and by ASGI."""

import asyncio
import gc
import itertools
import re
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from service.app import Cellgate
from service.http.gate import WHOLE_REPLY, Front, Receive, Response, Scope, Send
from service.http.protocol import MAX_PIPELINED, CellgateProtocol
from service.predict.predictor import Reply
from service.settings import Settings

ASK = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b\r\nok"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire(asyncio.Transport):
    """Remembers what reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def write_eof(self) -> None:
        self.writes.append(b"<eof>")

    def close(self) -> None:
        self.writes.append(b"<closed>")

    def is_closing(self) -> bool:
        return b"<closed>" in self.writes

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it got, at once if it can."""
    body = (await receive())["body"]
    headers = [(b"content-length", b"%d" % len(body))]
    if not scope["extensions"][WHOLE_REPLY](Response(200, headers, body)):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def serve(
    app: App,
    *requests: bytes,
    act: Callable[[CellgateProtocol], Any] = lambda _: None,
    turns: int = 5,
    **config: Any,
) -> list[bytes]:
    """What a connection writes that gets `requests` one after the other; `act` comes before the first."""

    async def body() -> list[bytes]:
        settings = uvicorn.Config(
            cast(Any, app),
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            **config,
        )
        protocol = CellgateProtocol(config=settings, server_state=ServerState(), app_state={})
        wire = Wire()
        protocol.connection_made(wire)
        act(protocol)
        for request in requests:
            if wire.is_closing():
                break  # "no more data will be received": asyncio's documentation of close()
            protocol.data_received(request)
            for _ in range(turns):
                await asyncio.sleep(0)
        protocol.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return (
            wire.writes[:-1]
            if wire.writes[-1:] == [b"<closed>"] and wire.writes[-2:-1] != [b"<closed>"]
            else wire.writes
        )

    return asyncio.run(body())


REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%b\r\nok"


def test_a_whole_reply_is_one_write_and_the_connection_stays() -> None:
    assert serve(whole, ASK % b"", ASK % b"") == [REPLY % b"", REPLY % b""]


def test_pipelined_requests_are_answered_in_order() -> None:
    assert serve(whole, (ASK % b"") * 3) == [REPLY % b""] * 3


@pytest.mark.parametrize(
    "ask", [ASK % b"Connection: close\r\n", (ASK % b"").replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_a_client_that_wants_it_closed_is_told_so(ask: bytes) -> None:
    assert serve(whole, ask)[:2] == [REPLY % b"connection: close\r\n", b"<closed>"]


def test_a_client_that_waits_to_be_asked_is_asked() -> None:
    head, body = (ASK % b"Expect: 100-continue\r\n")[:-2], b"ok"
    assert serve(whole, head, body) == [b"HTTP/1.1 100 Continue\r\n\r\n", REPLY % b""]


async def echo(body: bytes, _tenant: str) -> Reply:
    await asyncio.sleep(0)
    return Reply(body)


class Gate:
    """An application with a front, which notes what comes by ASGI."""

    def __init__(self, answer: Callable[[bytes, str], Awaitable[Reply]] = echo) -> None:
        self.by_asgi: list[str] = []
        self.log: list[dict[str, Any]] = []
        self.front = Front(
            answer, self._documented, max_body_bytes=100, body_timeout_s=1, access_log=self.log.append
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.by_asgi.append(scope["path"])
        await self.front(scope, receive, send)

    @staticmethod
    async def _documented(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nX-Request-ID: r%d\r\n%b\r\n"
ECHO = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: application/json\r\nx-request-id: r%d\r\ncontent-length: %d\r\n%b\r\n%b"
)


def post(body: bytes, number: int = 1, head: bytes = b"", path: bytes = b"/predict") -> bytes:
    return HEAD % (path, number, b"Content-Length: %d\r\n%b" % (len(body), head)) + body


def echoed(body: bytes, number: int = 1, head: bytes = b"") -> bytes:
    return ECHO % (number, len(body), head, body)


def test_hot_requests_that_come_whole_go_the_short_way_and_are_logged() -> None:
    gate = Gate()
    assert serve(gate, post(b"ab", 1), post(b"", 2)) == [echoed(b"ab", 1), echoed(b"", 2)]
    assert gate.by_asgi == []
    assert [(line["id"], line["path"], line["status"]) for line in gate.log] == [
        ("r1", "/predict", 200), ("r2", "/predict", 200),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "reads",
    [
        [post(b"abcd")[:-2], b"cd"],
        [post(b"abcd")[:20], post(b"abcd")[20:-3], b"bcd"],
        [post(b"abcd", path=b"/predic%74")],
        [post(b"abcd", path=b"/predict?x=y")],
        [post(b"abcd", path=b"/predict#x")],
        [post(b"abcd", path=b"http://x/predict")],
    ],
    ids=[
        "body in two reads",
        "head in two, body in two",
        "escaped path",
        "query",
        "fragment",
        "absolute target",
    ],
)
def test_any_other_goes_by_asgi_to_the_same_reply(reads: list[bytes]) -> None:
    gate = Gate()
    assert serve(gate, *reads) == [echoed(b"abcd")]
    assert gate.by_asgi == ["/predict"]


def test_a_head_in_two_reads_and_a_body_in_chunks_do_not_keep_a_request_from_the_short_way() -> None:
    gate = Gate()
    chunked = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert serve(gate, post(b"ab")[:9], post(b"ab")[9:], chunked) == [echoed(b"ab"), echoed(b"abc")]
    assert gate.by_asgi == []


def test_what_is_pipelined_behind_the_short_way_waits_its_turn() -> None:
    gate = Gate()
    health = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: r3\r\n\r\n"
    written = serve(gate, post(b"one", 1) + post(b"two", 2) + health + post(b"four", 4))
    assert written[:2] == [echoed(b"one", 1), echoed(b"two", 2)]
    assert b"".join(written[2:-1]) == b"HTTP/1.1 204 No Content\r\nx-request-id: r3\r\n\r\n"
    assert written[-1] == echoed(b"four", 4)
    assert gate.by_asgi == ["/predict", "/health/live", "/predict"]


def test_who_wants_to_be_asked_for_the_body_is() -> None:
    ask = post(b"ok", head=b"Expect: 100-continue\r\n")
    assert serve(Gate(), ask[:-2], ask[-2:]) == [b"HTTP/1.1 100 Continue\r\n\r\n", echoed(b"ok")]


@pytest.mark.parametrize(
    "ask", [post(b"ok", head=b"Connection: close\r\n"), post(b"ok").replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_the_short_way_closes_when_the_client_wants_it(ask: bytes) -> None:
    assert serve(Gate(), ask, post(b"no"))[:2] == [echoed(b"ok", head=b"connection: close\r\n"), b"<closed>"]


def test_the_short_way_waits_for_a_client_that_does_not_read() -> None:
    gate = Gate()
    assert serve(gate, post(b"ok"), act=lambda protocol: protocol.pause_writing()) == [echoed(b"ok")]
    assert gate.by_asgi == []


def test_a_body_of_which_too_much_has_come_is_refused_on_either_way() -> None:
    for reads in ([post(b"x" * 101)], [post(b"x" * 101)[:-50], b"x" * 50]):
        written = serve(Gate(), *reads)
        assert written[0].startswith(b"HTTP/1.1 413 ") and b"connection: close\r\n" in written[0]


def test_chunks_that_break_off_are_no_request() -> None:
    broken = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\nxyz\r\n"
    gate = Gate()
    assert serve(gate, broken)[0].startswith(b"HTTP/1.1 400 ")
    assert gate.log == [] and gate.by_asgi == []


def test_a_client_that_hangs_up_is_not_computed_for() -> None:
    ends: list[str] = []

    async def wait(_body: bytes, _tenant: str) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        raise AssertionError

    gate = Gate(wait)
    assert serve(gate, post(b"ok")) == []
    assert ends == ["cancelled"] and gate.front.num_running == 0
    assert [(line["status"], line["code"]) for line in gate.log] == [(499, "client_gone")]


def test_a_connection_whose_task_failed_says_so_and_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_line: object) -> None:
        raise RuntimeError("a bug")

    gate = Gate()
    gate.front = Front(echo, gate, max_body_bytes=100, body_timeout_s=1, access_log=fail)
    answer, *rest = serve(gate, post(b"ok"))
    assert answer.startswith(b"HTTP/1.1 500 ") and rest[0] == b"<closed>"
    assert "a connection's task failed" in caplog.text and "a bug" in caplog.text


@pytest.mark.parametrize("reads", [[post(b"ok")], [post(b"ok")[:-1], b"k"]], ids=["short way", "by ASGI"])
def test_a_request_leaves_nothing_to_the_garbage_collector(reads: list[bytes]) -> None:
    """What only it can free stays until it runs; meanwhile each request gets memory that no cache knows."""

    def garbage(requests: int) -> int:
        gc.collect()
        gc.disable()
        try:
            serve(Gate(), *reads * requests)
            return gc.collect()
        finally:
            gc.enable()

    garbage(1)  # what is made once
    assert garbage(21) == garbage(1)


def test_a_connection_that_waits_or_is_gone_keeps_neither_body_nor_reply() -> None:
    replies: list[bytes] = []
    protocols: list[weakref.ref[CellgateProtocol]] = []
    held: list[int] = []

    async def answer(_body: bytes, _tenant: str) -> Reply:
        if replies:
            held.append(sys.getrefcount(replies[0]))
        replies.append(b"reply %d" % len(replies))
        return Reply(replies[-1])

    gc.collect()
    gc.disable()
    try:
        serve(Gate(answer), post(b"one"), post(b"two"), act=lambda it: protocols.append(weakref.ref(it)))
        assert held == [sys.getrefcount(replies[0])] == [sys.getrefcount(replies[1])]
        assert protocols[0]() is None
    finally:
        gc.enable()


GARBAGE = b"\x00\x01 no HTTP\r\n\r\n"


def test_garbage_behind_a_request_does_not_take_its_reply() -> None:
    gate = Gate()
    assert serve(gate, post(b"ok") + GARBAGE, post(b"no"))[:2] == [echoed(b"ok"), b"<eof>"]
    assert [line["status"] for line in gate.log] == [200]


def test_a_body_that_breaks_off_by_asgi_ends_its_request_and_the_connection() -> None:
    gate = Gate()
    head = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\n"
    refused, *rest = serve(gate, head, b"xyz\r\n", post(b"no"))
    assert refused.startswith(b"HTTP/1.1 400 ") and rest[0] == b"<eof>"
    assert [line["status"] for line in gate.log] == [499] and gate.front.num_running == 0


def test_a_body_that_breaks_off_behind_others_does_not_take_their_replies() -> None:
    gate = Gate()
    broken = HEAD % (b"/predict", 3, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\nxyz\r\n"
    written = serve(gate, post(b"one", 1) + post(b"two", 2) + broken)
    assert written[:3] == [echoed(b"one", 1), echoed(b"two", 2), b"<eof>"]


def test_a_long_request_and_the_beginning_of_the_next_are_no_long_head() -> None:
    body = b"x" * 70_000
    gate = Gate()
    gate.front = Front(echo, gate, max_body_bytes=1 << 20, body_timeout_s=1)
    following = post(b"ok", 2)
    assert serve(gate, post(body) + following[:9], following[9:]) == [echoed(body), echoed(b"ok", 2)]


def test_a_connection_can_have_only_so_many_requests_waiting() -> None:
    gate = Gate()
    written = serve(gate, b"".join(post(b"", number) for number in range(MAX_PIPELINED + 50)), turns=2000)
    assert written[:-1] == [echoed(b"", number) for number in range(MAX_PIPELINED + 1)]
    assert written[-1] == b"<eof>"


@pytest.mark.parametrize("body_apart", [False, True])
def test_an_offer_to_upgrade_is_passed_over_and_the_body_stays_a_body(body_apart: bool) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    body = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    ask = post(body, head=offer)
    cut = len(ask) - len(body) if body_apart else len(ask)
    gate = Gate()
    written = (
        serve(gate, ask[:cut], ask[cut:], post(b"next", 2))
        if body_apart
        else serve(gate, ask, post(b"next", 2))
    )
    assert written == [echoed(body), echoed(b"next", 2)]


def test_this_is_no_proxy() -> None:
    assert serve(Gate(), b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("in_two", [False, True], ids=["short way", "by ASGI"])
def test_trailers_are_no_headers(in_two: bool) -> None:
    ask = (
        HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n")
        + b"2\r\nab\r\n0\r\nContent-Type: text/plain\r\n\r\n"
    )
    cut = ask.index(b"ab") + 1 if in_two else len(ask)
    reads = [part for part in (ask[:cut], ask[cut:]) if part]
    assert serve(Gate(), *reads) == [echoed(b"ab")]


STREAM = [
    post(b"one", 1),
    HEAD % (b"/predict", 2, b"Transfer-Encoding: chunked\r\n")
    + b"2\r\nab\r\n1\r\nc\r\n0\r\nX-Request-ID: r9\r\n\r\n",
    b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: r3\r\n\r\n",
    post(b"four", 4, path=b"/predict?x"),
    post(b"five", 5, head=b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    post(b"six", 6, head=b"Content-Type: text/plain\r\n"),
    post(b"x" * 101, 7),
]


@given(
    st.lists(st.integers(0, len(STREAM) - 1), min_size=1, max_size=6),
    st.lists(st.integers(0, 2000), max_size=8),
)
@example([6, 0], [175])
def test_where_the_packets_end_changes_no_reply(chosen: list[int], cuts: list[int]) -> None:
    stream = b"".join(STREAM[index] for index in chosen)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)} - {0})
    reads = [stream[start:stop] for start, stop in itertools.pairwise([0, *ends]) if start < stop]

    def replies(*parts: bytes) -> list[bytes]:
        written = b"".join(serve(Gate(), *parts, turns=40))
        # What a connection does at its end, and beyond, depends on how much had come.
        return [reply.partition(b"<")[0] for reply in re.split(rb"(?=HTTP/1\.1 )", written) if reply]

    assert replies(*reads) == replies(stream)


class Noted(Cellgate):
    """The real application, which notes what comes by ASGI."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.by_asgi: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.by_asgi.append(scope["path"])
        await super().__call__(scope, receive, send)


def test_the_real_application_takes_the_short_way_with_every_hot_route() -> None:
    app = Noted(Settings(store="memory"))
    head = b"Content-Type: text/plain\r\n"  # refused before a model is asked
    paths = [b"/predict", b"/generate", b"/v2/models/vowels/infer", b"/v2/models/vowels/versions/1/infer"]
    written = serve(app, *(post(b"x", 1, path=path, head=head) for path in [*paths, b"/sessions/s/fork"]))
    assert [reply.split()[1] for reply in written if reply.startswith(b"HTTP")][:4] == [b"415"] * 4
    assert app.by_asgi == ["/sessions/s/fork"]
