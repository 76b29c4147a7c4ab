"""Which requests are answered in events, and how events and their errors are written."""

import asyncio
import json
from typing import Any

import pytest

from service.errors import BadHeader, InvalidField, Overloaded
from service.http.events import last_event_id, wants_events, write_event
from service.http.fast_path import CellgateProtocol
from service.http.messages import Request, Response
from service.memory import MemoryBudget
from service.metrics import Metrics, Registry, Requests
from service.predict import Emit, Event
from tests.service.http.gates import make_gate
from tests.service.http.wire import App, echoed, post, serve

ACCEPT = b"Accept: text/event-stream\r\n"
WAYS = pytest.mark.parametrize("path", [b"/predict", b"/predict?by=asgi"], ids=["fast path", "by ASGI"])
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"
    b"x-accel-buffering: no\r\nx-request-id: r1\r\n%btransfer-encoding: chunked\r\n\r\n"
)


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


@pytest.mark.parametrize(
    "accept",
    [
        b"text/event-stream", b"Text/Event-Stream", b"text/event-stream;q=0.1", b"text/event-stream, */*",
        b"text/html,text/event-stream", b"text/event-stream;charset=utf-8; q=1", b",text/event-stream,",
        b"application/json;q=0.5, text/event-stream", b"text/event-stream;q=0.5, */*;q=0.1",
        b"text/event-stream, application/*", b"application/json;q=x, text/event-stream",
    ],
)  # fmt: skip
def test_requests_that_are_answered_in_events(accept: bytes) -> None:
    assert wants_events(accept)


@pytest.mark.parametrize(
    "accept",
    [
        b"", b"*/*", b"text/*", b"application/json", b"text/event-stream;q=0", b"text/event-stream;q=0.0",
        b"text/event-stream, application/json", b"text/event-stream;q=0.5, */*", b"text/event-streams",
        b"text/event-stream;q=nan", b"text/event-stream;q=2", b"text/event-stream;q=-1",
        b"text / event-stream", b"text/event-stream;q=", b"\xff\x00;;;q=q,=", b"text/event-stream;q=0;q=1",
    ],
)  # fmt: skip
def test_all_others_are_answered_with_json(accept: bytes) -> None:
    """`text/event-stream, application/json` takes both; then the reply has no further conditions."""
    assert not wants_events(accept)


def test_an_event_has_its_name_id_and_data() -> None:
    assert write_event("steps", b"{}", "0.1.-.00000000") == b"event: steps\nid: 0.1.-.00000000\ndata: {}\n\n"
    assert write_event("error", b"{}") == b"event: error\ndata: {}\n\n"


def test_the_id_of_the_last_event_is_one_header() -> None:
    assert last_event_id([(b"x", b"y")]) == ""
    assert last_event_id([(b"last-event-id", b" \xff ")]) == "ÿ"
    with pytest.raises(BadHeader):
        last_event_id([(b"last-event-id", b"1"), (b"last-event-id", b"1")])


class Script:
    """An event handler that emits events and then ends, fails, or waits."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.num_cancelled = 0
        self.has_begun = asyncio.Event()

    async def __call__(self, _: Request, emit: Emit) -> Response:
        for step in self.steps:
            if isinstance(step, BaseException):
                raise step
            if step == "wait":
                self.has_begun.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.num_cancelled += 1
                    raise
            else:
                await emit(Event("end" if step == "end" else "steps", step, b'"%b"' % step.encode()))
        return Response(200, [], b"", {"model": "m", "version": "1"})


def app_of(*steps: Any, **options: Any) -> App:
    log: list[dict[str, Any]] = []
    app = App(gate=make_gate(events=Script(*steps), access_log=log.append, body_timeout_s=1, **options))
    app.log = log
    return app


def event(name: bytes, content: bytes) -> bytes:
    return b'event: %b\nid: %b\ndata: "%b"\n\n' % (name, content, content)


A, B, END = event(b"steps", b"a"), event(b"steps", b"b"), event(b"end", b"end")


@WAYS
def test_events_are_sent_as_they_come_and_the_connection_stays_open(path: bytes) -> None:
    app = app_of("a", "b", "end")
    written = serve(app, post(b"1", head=ACCEPT, path=path), post(b"2", 2, path=path))
    assert written == [HEAD % b"" + chunk(A), chunk(B), chunk(END) + b"0\r\n\r\n", echoed(b"2", 2)]
    first, second = app.log
    assert (first["status"], first["events"], first["path"]) == (200, 3, "/predict")
    assert "events" not in second and app.gate.num_running == 0


@WAYS
def test_a_response_of_one_event_has_no_empty_chunk(path: bytes) -> None:
    written = serve(app_of("end"), post(b"1", head=ACCEPT, path=path))
    assert written == [HEAD % b"", chunk(END) + b"0\r\n\r\n"]


@WAYS
def test_a_client_of_http_1_0_reads_until_the_connection_is_closed(path: bytes) -> None:
    request = post(b"1", head=ACCEPT, path=path).replace(b"HTTP/1.1", b"HTTP/1.0")
    head = HEAD.replace(b"transfer-encoding: chunked", b"connection: close") % b""
    assert serve(app_of("a", "end"), request)[:3] == [head + A, END, b"<closed>"]


@WAYS
def test_a_client_that_asks_for_it_gets_chunks_and_a_closed_connection(path: bytes) -> None:
    request = post(b"1", head=ACCEPT + b"Connection: close\r\n", path=path)
    head, end, closed, *_ = serve(app_of("a", "end"), request)
    assert head.startswith(b"HTTP/1.1 200") and b"transfer-encoding: chunked\r\nconnection: close\r\n" in head
    assert (end, closed) == (chunk(END) + b"0\r\n\r\n", b"<closed>")


@WAYS
def test_errors_before_the_first_event_have_their_status(path: bytes) -> None:
    app = app_of(InvalidField("no", pointer="/x"))
    (written,) = serve(app, post(b"1", head=ACCEPT, path=path))
    assert written.startswith(b"HTTP/1.1 422 ") and b"application/problem+json" in written
    assert [(line["status"], line["code"]) for line in app.log] == [(422, "invalid_field")]


@WAYS
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Overloaded("later"), 503, "overloaded"), (ValueError("a secret"), 500, "internal")],
)
def test_an_error_after_the_first_event_is_the_last_event(
    path: bytes, error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no id: the client goes on after the last event that has one. The log has the error's status."""
    app = app_of("a", error)
    first, last, after = serve(app, post(b"1", head=ACCEPT, path=path), post(b"2", 2, path=path))
    assert first == HEAD % b"" + chunk(A) and after == echoed(b"2", 2)
    assert last.endswith(b"\r\n0\r\n\r\n") and b"a secret" not in last
    name, data, *_ = last.split(b"\r\n")[1].split(b"\n")
    problem = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: error" and (problem["status"], problem["code"]) == (status, code)
    assert (app.log[0]["status"], app.log[0]["code"], app.log[0]["events"]) == (status, code, 1)
    assert ("a secret" in caplog.text) == (code == "internal")


@WAYS
def test_a_forced_stop_ends_the_events_with_an_error_and_closes(path: bytes) -> None:
    app = app_of("a", "wait")

    def stop(protocol: CellgateProtocol) -> None:
        async def later() -> None:
            await asyncio.sleep(0.1)
            app.gate.start_draining()
            for task in list(protocol.tasks):
                task.cancel()

        stopping.append(asyncio.get_running_loop().create_task(later()))

    stopping: list[Any] = []
    request = post(b"1", head=ACCEPT, path=path)
    first, last, closed, *_ = serve(app, request, act=stop, turns=10, pause_s=0.05)
    assert first == HEAD % b"" + chunk(A) and closed == b"<closed>"
    assert b"event: error\n" in last and b'"code":"draining"' in last and last.endswith(b"\r\n0\r\n\r\n")
    assert [(line["status"], line["code"]) for line in app.log] == [(503, "draining")]


@WAYS
def test_a_client_that_disconnects_cancels_the_work_and_gets_no_more(path: bytes) -> None:
    app = app_of("a", "wait")
    written = serve(app, post(b"1", head=ACCEPT, path=path), turns=10, pause_s=0.02)
    assert written == [HEAD % b"" + chunk(A)]
    assert [(line["status"], line["code"]) for line in app.log] == [(499, "client_disconnected")]


def test_events_have_the_headers_of_all_responses_and_are_counted_apart() -> None:
    registry = Registry()
    app = app_of("a", "end", origins="*", requests=Requests(Metrics(registry)), min_encoded=1)
    head = ACCEPT + b"Origin: http://page.example\r\nAccept-Encoding: gzip\r\n"
    written = serve(app, post(b"1", head=head))
    assert b"access-control-allow-origin: *\r\n" in written[0] and b"gzip" not in written[0]
    assert written[1] == chunk(END) + b"0\r\n\r\n"


def test_the_body_counts_as_memory_until_the_last_event() -> None:
    budget = MemoryBudget(1000)
    seen = []

    async def handler(_: Request, emit: Emit) -> Response:
        await emit(Event("steps", "a", b"1"))
        seen.append(budget.used)
        await emit(Event("end", "end", b"1"))
        return Response(200, [], b"")

    serve(App(gate=make_gate(events=handler, budget=budget, body_timeout_s=1)), post(b"1", head=ACCEPT))
    assert seen == [8] and budget.used == 0


def test_a_server_without_the_extension_gets_asgi_messages() -> None:
    sent: list[dict[str, Any]] = []

    async def body() -> None:
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"1"}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"accept", b"text/event-stream"), (b"x-request-id", b"r1")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await app_of("a", "end")._asgi(scope, receive, send)

    asyncio.run(body())
    start, *parts = sent
    assert start["status"] == 200 and (b"content-type", b"text/event-stream") in start["headers"]
    assert [(part["body"], part.get("more_body", False)) for part in parts] == [(A, True), (END, False)]
