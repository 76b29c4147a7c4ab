"""A whole response in one write, whatever surrounds the request: on the fast path and by ASGI."""

import asyncio
import gc
import itertools
import re
import sys
import weakref

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.http.fast_path import CellgateProtocol
from service.predict import Reply
from tests.service.http.wire import HEAD, App, echoed, post, serve


def test_inference_requests_that_arrive_whole_take_the_fast_path_and_are_logged() -> None:
    app = App()
    assert serve(app, post(b"ab", 1), post(b"", 2)) == [echoed(b"ab", 1), echoed(b"", 2)]
    assert app.by_asgi == []
    assert [(line["id"], line["path"], line["status"]) for line in app.log] == [
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
def test_any_other_request_gets_the_same_response_by_asgi(reads: list[bytes]) -> None:
    app = App()
    assert serve(app, *reads) == [echoed(b"abcd")]
    assert app.by_asgi == ["/predict"]


def test_requests_to_several_paths_on_one_connection_have_their_own_routes() -> None:
    app, by_asgi = App(), b"/predict?x=y"
    paths = [b"/predict", by_asgi, by_asgi, b"/predict", b"/generate", b"/predict"]
    serve(app, *(post(b"ab", number, path=path) for number, path in enumerate(paths)), turns=10)
    assert [line["path"] for line in app.log] == [path.decode().partition("?")[0] for path in paths]
    assert app.by_asgi == ["/predict"] * 2


def test_a_head_in_two_reads_and_a_chunked_body_take_the_fast_path() -> None:
    app = App()
    chunked = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert serve(app, post(b"ab")[:9], post(b"ab")[9:], chunked) == [echoed(b"ab"), echoed(b"abc")]
    assert app.by_asgi == []


def test_requests_pipelined_behind_the_fast_path_wait() -> None:
    app = App()
    health = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: r3\r\n\r\n"
    written = serve(app, post(b"one", 1) + post(b"two", 2) + health + post(b"four", 4))
    assert written[:2] == [echoed(b"one", 1), echoed(b"two", 2)]
    assert b"".join(written[2:-1]) == b"HTTP/1.1 204 No Content\r\nx-app: yes\r\nx-request-id: r3\r\n\r\n"
    assert written[-1] == echoed(b"four", 4)
    assert app.by_asgi == ["/predict", "/health/live", "/predict"]


def test_a_client_that_expects_100_continue_gets_it() -> None:
    ask = post(b"ok", head=b"Expect: 100-continue\r\n")
    assert serve(App(), ask[:-2], ask[-2:]) == [b"HTTP/1.1 100 Continue\r\n\r\n", echoed(b"ok")]


@pytest.mark.parametrize(
    "ask", [post(b"ok", head=b"Connection: close\r\n"), post(b"ok").replace(b"HTTP/1.1", b"HTTP/1.0")]
)
def test_the_fast_path_closes_when_the_client_asks_for_it(ask: bytes) -> None:
    assert serve(App(), ask, post(b"no"))[:2] == [echoed(b"ok", head=b"connection: close\r\n"), b"<closed>"]


def test_the_fast_path_waits_for_a_client_that_does_not_read() -> None:
    app = App()
    assert serve(app, post(b"ok"), act=lambda protocol: protocol.pause_writing()) == [echoed(b"ok")]
    assert app.by_asgi == []


def test_a_client_that_disconnects_cancels_its_computation() -> None:
    ends: list[str] = []

    async def wait(_body: bytes) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        raise AssertionError

    app = App(wait)
    assert serve(app, post(b"ok")) == []
    assert ends == ["cancelled"] and app.gate.num_running == 0
    assert [(line["status"], line["code"]) for line in app.log] == [(499, "client_disconnected")]


def test_a_connection_whose_task_failed_is_answered_500_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_line: object) -> None:
        raise RuntimeError("a bug")

    app = App(access_log=fail)
    answer, *rest = serve(app, post(b"ok"))
    assert answer.startswith(b"HTTP/1.1 500 ") and rest[0] == b"<closed>"
    assert b"\r\nx-request-id: r1\r\n" in answer
    assert "a connection's task failed" in caplog.text and "a bug" in caplog.text


@pytest.mark.parametrize("reads", [[post(b"ok")], [post(b"ok")[:-1], b"k"]], ids=["fast path", "by ASGI"])
def test_a_request_leaves_nothing_to_the_garbage_collector(reads: list[bytes]) -> None:
    """Cycles stay until it runs; meanwhile each request gets memory that is in no cache."""

    def garbage(requests: int) -> int:
        gc.collect()
        gc.disable()
        try:
            serve(App(), *reads * requests)
            return gc.collect()
        finally:
            gc.enable()

    garbage(1)  # objects that are created once
    assert garbage(21) == garbage(1)


def test_a_connection_that_waits_or_is_closed_holds_neither_body_nor_response() -> None:
    replies: list[bytes] = []
    protocols: list[weakref.ref[CellgateProtocol]] = []
    held: list[int] = []

    async def answer(_body: bytes) -> Reply:
        if replies:
            held.append(sys.getrefcount(replies[0]))
        replies.append(b"reply %d" % len(replies))
        return Reply(replies[-1])

    gc.collect()
    gc.disable()
    try:
        serve(App(answer), post(b"one"), post(b"two"), act=lambda it: protocols.append(weakref.ref(it)))
        assert held == [sys.getrefcount(replies[0])] == [sys.getrefcount(replies[1])]
        assert protocols[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("in_two", [False, True], ids=["fast path", "by ASGI"])
def test_trailers_are_not_headers(in_two: bool) -> None:
    ask = (
        HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n")
        + b"2\r\nab\r\n0\r\nContent-Type: text/plain\r\n\r\n"
    )
    cut = ask.index(b"ab") + 1 if in_two else len(ask)
    reads = [part for part in (ask[:cut], ask[cut:]) if part]
    assert serve(App(), *reads) == [echoed(b"ab")]


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
def test_the_boundaries_of_packets_change_no_response(chosen: list[int], cuts: list[int]) -> None:
    stream = b"".join(STREAM[index] for index in chosen)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)} - {0})
    reads = [stream[start:stop] for start, stop in itertools.pairwise([0, *ends]) if start < stop]

    def replies(*parts: bytes) -> list[bytes]:
        written = b"".join(serve(App(), *parts, turns=40))
        # What a connection does at its end, and beyond, depends on how much had come.
        return [reply.partition(b"<")[0] for reply in re.split(rb"(?=HTTP/1\.1 )", written) if reply]

    assert replies(*reads) == replies(stream)


def test_every_inference_route_takes_the_fast_path() -> None:
    app = App()
    paths = [b"/predict", b"/generate", b"/v2/models/vowels/infer", b"/v2/models/vowels/versions/1/infer"]
    written = serve(app, *(post(b"{}", path=path) for path in [*paths, b"/sessions/s/fork"]))
    assert [response.split()[1] for response in written if response.startswith(b"HTTP")] == [b"200"] * 4 + [
        b"204"
    ]
    assert app.by_asgi == ["/sessions/s/fork"]
