"""The gate: what it checks, in which order, and what every response and log line has."""

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI

from service import trace
from service.errors import HeadTooLarge, InvalidField, MethodNotAllowed, NotFound, Overloaded
from service.http.fastapi_bridge import ApplicationHandler
from service.http.gate import COUNTED_REPLY, Gate
from service.http.keys import Guard, Tenants, new_key
from service.http.messages import DISCONNECT, ClientDisconnected, Headers, Request, Response
from service.http.rates import Rates
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget
from service.metrics import Metrics, Registry, Requests, RequestSpan, add_up
from service.predict import LARGE_BODY, Reply
from service.stages import Stages
from service.trace import Trace
from tests.service.http.gates import make_gate

KEY, HASH = new_key()
JSON_TYPE = (b"content-type", b"application/json")


def guard() -> Guard:
    tenants = Tenants.load(None, f"acme={HASH}")
    return Guard(tenants, Rates(tenants.rates))


def ask(
    gate: Gate,
    method: str = "POST",
    path: str = "/predict",
    headers: Headers | None = None,
    body: bytes = b"",
) -> Response:
    async def work() -> Response:
        return await gate.answer(Request(method, path, headers or [], body), gate.router.find(method, path))

    return asyncio.run(work())


def code_of(response: Response) -> str:
    code: str = json.loads(response.body)["code"]
    return code


def test_checks_come_in_one_order() -> None:
    """A request with several faults is refused for the first one, so that an unknown client learns least."""
    draining = make_gate(guard=guard(), is_draining=True)
    everything: Headers = [(b"content-type", b"text/plain")]
    assert code_of(ask(draining, headers=everything, body=b"x" * 101)) == "draining"
    assert code_of(ask(make_gate(guard=guard()), headers=everything, body=b"x" * 101)) == "unauthorized"
    with_key = [(b"x-api-key", KEY.encode()), *everything]
    assert (
        code_of(ask(make_gate(guard=guard()), headers=with_key, body=b"x" * 101)) == "unsupported_media_type"
    )
    assert code_of(ask(make_gate(), body=b"x" * 101)) == "body_too_large"


def test_the_tenant_of_a_key_reaches_the_handler() -> None:
    tenants: list[str] = []

    async def application(request: Request) -> Response:
        tenants.append(request.tenant)
        return Response(204, [], b"")

    gate = make_gate(application=application, guard=guard())
    refused = ask(gate, "GET", "/sessions")
    assert refused.status == 401 and (b"www-authenticate", b"Bearer") in refused.headers
    assert ask(gate, "GET", "/sessions", [(b"x-api-key", KEY.encode())]).status == 204
    assert ask(gate, "GET", "/health/live").status == 204, "health needs no key"
    assert tenants == ["acme", ""]


@pytest.mark.parametrize("path", ["/health/ready", "/v2/health/ready"])
def test_health_is_answered_while_draining(path: str) -> None:
    gate = make_gate(is_draining=True)
    assert ask(gate, "GET", path).status == 204
    assert ask(gate, "GET", "/models").status == 503
    assert ask(gate, "GET", "/v2/models/m/ready").status == 503, "it would not answer a prediction"


@pytest.mark.parametrize(
    ("path", "is_v2"),
    [("/v2", True), ("/v2/", True), ("/v2/models", True), ("/v2/models/m/infer", True), ("/v2x", False)],
)
def test_an_error_has_the_form_of_the_paths_api(path: str, is_v2: bool) -> None:
    async def application(_: Request) -> Response:
        raise NotFound("nothing here")

    gate = make_gate(application=application, is_draining=path.endswith("infer"))
    response = ask(gate, path=path)
    document = json.loads(response.body)
    assert ("error" in document) == is_v2 and ("title" in document) != is_v2
    expected = b"application/json" if is_v2 else b"application/problem+json"
    assert dict(response.headers)[b"content-type"] == expected


def test_the_open_inference_protocol_has_no_422() -> None:
    async def application(_: Request) -> Response:
        raise InvalidField("expected a number")

    gate = make_gate(application=application)
    assert ask(gate, path="/v2/models/m").status == 400
    assert ask(gate, path="/sessions/s/fork").status == 422


def test_the_headers_of_an_error_are_sent() -> None:
    async def application(_: Request) -> Response:
        raise MethodNotAllowed("GET /v2: Method Not Allowed", allow=("POST",))

    response = ask(make_gate(application=application), "GET", "/v2")
    assert response.status == 405 and (b"allow", b"POST") in response.headers


@pytest.mark.parametrize("path", ["/sessions", "/v2/models/m"])
def test_an_unexpected_error_is_logged_under_the_requests_id_and_not_shown(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(_: Request) -> Response:
        raise ZeroDivisionError("a secret")

    lines: list[dict[str, Any]] = []
    gate = make_gate(application=application, access_log=lines.append)
    response = ask(gate, "GET", path, [(b"x-request-id", b"r-1")])
    document = json.loads(response.body)
    assert (response.status, document["code"]) == (500, "internal") and b"secret" not in response.body
    assert ("error" in document) == path.startswith("/v2")
    assert (b"x-request-id", b"r-1") in response.headers
    (record,) = caplog.records
    assert "r-1" in record.getMessage() and record.exc_info and record.exc_info[0] is ZeroDivisionError
    assert [(line["status"], line["code"], line["id"]) for line in lines] == [(500, "internal", "r-1")]
    assert gate.num_running == 0


def test_a_response_to_head_has_no_body() -> None:
    async def application(_: Request) -> Response:
        return Response(200, [(b"content-length", b"2")], b"ok")

    response = ask(make_gate(application=application), "HEAD", "/health/live")
    assert response.body == b"" and (b"content-length", b"2") in response.headers


def test_a_refused_connection_is_logged_like_a_request() -> None:
    lines: list[dict[str, Any]] = []
    gate = make_gate(access_log=lines.append)
    head = gate.refuse(HeadTooLarge("too long"))
    full = gate.refuse(Overloaded("full"), "POST", "/predict")
    assert (head.status, full.status) == (431, 503)
    for response, line in zip((head, full), lines, strict=True):
        assert (b"connection", b"close") in response.headers
        assert line["status"] == response.status and line["code"] == code_of(response)
        assert dict(response.headers)[b"x-request-id"].decode() == line["id"]
    assert (lines[1]["method"], lines[1]["path"]) == ("POST", "/predict")


def test_a_client_that_disconnects_while_its_body_is_read_is_logged() -> None:
    lines: list[dict[str, Any]] = []
    gate = make_gate(access_log=lines.append)

    async def read_part() -> tuple[bytes, bool]:
        raise ClientDisconnected

    async def work() -> None:
        await gate.answer(Request("POST", "/predict", []), gate.router.find("POST", "/predict"), read_part)

    with pytest.raises(ClientDisconnected):
        asyncio.run(work())
    assert [(line["status"], line["code"]) for line in lines] == [(499, "client_disconnected")]
    assert gate.num_running == 0


@pytest.mark.parametrize("path", ["/predict", "/generate", "/v2/models/m/infer", "/sessions/a/import"])
@pytest.mark.parametrize("coding", [b"gzip", b" GZIP ", b"x-gzip"])
def test_every_route_reads_compressed_bodies(path: str, coding: bytes) -> None:
    async def application(request: Request) -> Response:
        return Response(200, [], request.body)

    packed = gzip.compress(b"[1]")
    headers: Headers = [(b"content-encoding", coding), (b"content-length", b"%d" % len(packed))]
    assert ask(make_gate(application=application), path=path, headers=headers, body=packed).body == b"[1]"


def test_a_body_is_refused_for_its_size_once_decompressed_and_counts_in_the_budget() -> None:
    coded: Headers = [(b"content-encoding", b"gzip")]
    bomb = gzip.compress(bytes(10_000))
    assert code_of(ask(make_gate(max_body_bytes=9_999), headers=coded, body=bomb)) == "body_too_large"
    budget = MemoryBudget(9_999 * BYTES_PER_BODY_BYTE)
    response = ask(make_gate(max_body_bytes=10_000, budget=budget), headers=coded, body=bomb)
    assert code_of(response) == "body_too_large", "no body may take more than the whole budget"

    async def answer(body: bytes) -> Reply:
        assert budget.used == len(body) * BYTES_PER_BODY_BYTE
        return Reply(b"")

    budget = MemoryBudget(10_000 * BYTES_PER_BODY_BYTE)
    gate = make_gate(answer, max_body_bytes=10_000, budget=budget)
    assert ask(gate, headers=coded, body=bomb).status == 200 and budget.used == 0
    budget.take(1)
    assert code_of(ask(gate, headers=coded, body=bomb)) == "memory_exhausted" and budget.used == 1


@pytest.mark.parametrize("codings", [[b"br"], [b"gzip", b"gzip"], [b"gzip, gzip"]])
def test_a_coding_that_cannot_be_undone_is_refused(codings: list[bytes]) -> None:
    headers: Headers = [(b"content-encoding", coding) for coding in codings]
    assert code_of(ask(make_gate(), headers=headers, body=b"x")) == "unsupported_encoding"


def test_large_responses_are_compressed_for_clients_that_accept_it() -> None:
    gate = make_gate(min_encoded=100)
    accepts: Headers = [(b"accept-encoding", b"gzip")]
    large, small = b"1" * 100, b"1" * 99
    response = ask(gate, headers=accepts, body=large)
    assert gzip.decompress(response.body) == large
    headers = dict(response.headers)
    assert headers[b"content-length"] == b"%d" % len(response.body)
    assert headers[b"content-encoding"] == b"gzip" and headers[b"vary"] == b"accept-encoding"
    plain = ask(gate, body=large)
    assert plain.body == large and (b"vary", b"accept-encoding") in plain.headers
    for uncompressed in (
        ask(gate, headers=accepts, body=small),
        ask(make_gate(), headers=accepts, body=large),
    ):
        assert not {b"vary", b"content-encoding"} & dict(uncompressed.headers).keys()


ORIGIN = (b"origin", b"https://a.example")


def test_a_preflight_request_is_answered_without_a_key_also_while_draining() -> None:
    gate = make_gate(guard=guard(), origins="https://a.example", is_draining=True)
    headers: Headers = [ORIGIN, (b"access-control-request-method", b"POST")]
    response = ask(gate, "OPTIONS", "/predict", headers)
    assert response.status == 204
    assert (b"access-control-allow-origin", b"https://a.example") in response.headers


def test_every_response_says_whether_another_origin_may_read_it() -> None:
    gate = make_gate(guard=guard(), origins="https://a.example")
    served = ask(gate, headers=[ORIGIN, (b"x-api-key", KEY.encode())])
    unauthorized = ask(gate, headers=[ORIGIN])
    refused = gate.refuse(Overloaded("too many"), "POST", "/predict", [ORIGIN])
    assert (served.status, unauthorized.status, refused.status) == (200, 401, 503)
    for response in (served, unauthorized, refused):
        assert (b"access-control-allow-origin", b"https://a.example") in response.headers
        assert (b"vary", b"origin") in response.headers
    assert not [name for name, _ in ask(make_gate(), headers=[ORIGIN]).headers if b"access-control" in name]


def test_requests_in_progress_share_a_budget_of_memory() -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def answer(body: bytes) -> Reply:
            await release.wait()
            return Reply(body)

        budget = MemoryBudget(100 * BYTES_PER_BODY_BYTE)
        gate = make_gate(answer, budget=budget)
        route = gate.router.find("POST", "/predict")

        def send(size: int) -> asyncio.Task[Response]:
            return asyncio.create_task(gate.answer(Request("POST", "/predict", [], b"x" * size), route))

        first = send(60)
        await asyncio.sleep(0)
        refused = await send(41)
        assert refused.status == 503 and b"memory_exhausted" in refused.body
        assert (b"retry-after", b"1") in refused.headers
        second = send(40)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        assert budget.used == 60 * BYTES_PER_BODY_BYTE
        release.set()
        assert (await first).status == 200 and budget.used == 0
        assert (await send(100)).status == 200 and budget.used == 0

    asyncio.run(work())


@pytest.mark.parametrize("min_encoded", [0, COUNTED_REPLY])
def test_a_large_response_counts_until_it_is_released(min_encoded: int) -> None:
    body = b"1" * COUNTED_REPLY
    budget = MemoryBudget(1 << 40)
    gate = make_gate(budget=budget, min_encoded=min_encoded, max_body_bytes=len(body))
    small, large = ask(gate, body=body[:-1]), ask(gate, body=body)
    assert (small.held, large.held, budget.used) == (0, len(body), len(body))
    gate.release(large)
    gate.release(large)
    assert budget.used == 0


def test_a_response_whose_client_disconnects_while_it_is_compressed_does_not_count() -> None:
    async def work() -> None:
        body = b"1" * (LARGE_BODY + 1)
        budget = MemoryBudget(1 << 40)
        gate = make_gate(budget=budget, min_encoded=1, max_body_bytes=len(body))
        request = Request("POST", "/predict", [(b"accept-encoding", b"gzip")], body)
        task = asyncio.create_task(gate.answer(request, gate.router.find("POST", "/predict")))
        while budget.used != len(body):  # no longer the body's, but the response's
            await asyncio.sleep(0)
        task.cancel(DISCONNECT)
        await asyncio.wait([task])
        assert task.cancelled() and budget.used == 0

    asyncio.run(work())


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/predict", "/predict"),
        ("POST", "/v2/models/anything/infer", "/v2/models/{name}/infer"),
        ("POST", "/v2/models/a/versions/99/infer", "/v2/models/{name}/versions/{version}/infer"),
        ("GET", "/sessions/a-name", "/sessions/{name}"),
        ("PATCH", "/sessions/a-name", "/sessions/{name}"),
        ("GET", "/a/path/of/the/client", "other"),
        ("GET", "/sessions/a-name/", "other"),
    ],
)
def test_requests_are_counted_by_route_whatever_a_client_sends(method: str, path: str, route: str) -> None:
    """A route is the template of a path: a client that invents paths or names makes no series."""
    documented = FastAPI()
    documented.add_api_route("/sessions/{name}", lambda name: name, methods=["GET"])
    metrics = Metrics(Registry())
    gate = make_gate(application=ApplicationHandler(documented), requests=Requests(metrics))
    ask(gate, method, path, [JSON_TYPE] if method == "POST" else [])
    metrics.registry.flush()
    (labels,) = add_up(metrics.registry.described, metrics.registry.read)["cellgate_request_duration_seconds"]
    assert labels[0] == route


def test_each_request_is_counted_once_whatever_becomes_of_it() -> None:
    async def disconnect() -> tuple[bytes, bool]:
        raise ClientDisconnected

    metrics = Metrics(Registry())
    gate = make_gate(requests=Requests(metrics))
    ask(gate, headers=[JSON_TYPE], body=b"{}")
    ask(gate, headers=[JSON_TYPE], body=b"x" * 101)
    gate.refuse(HeadTooLarge("long"))
    gate.interrupt(Request("POST", "/predict", []))
    with pytest.raises(ClientDisconnected):
        asyncio.run(
            gate.answer(Request("POST", "/predict", []), gate.router.find("POST", "/predict"), disconnect)
        )
    metrics.registry.flush()
    totals = add_up(metrics.registry.described, metrics.registry.read)["cellgate_request_duration_seconds"]
    assert {labels: sum(counts) for labels, (*counts, _) in totals.items()} == {
        ("/predict", "m", "1", "200", "ok"): 1,
        ("/predict", "", "", "413", "body_too_large"): 1,
        ("other", "", "", "431", "head_too_large"): 1,
        ("/predict", "", "", "503", "draining"): 1,
        ("/predict", "", "", "499", "client_disconnected"): 1,
    }


TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}


async def timed(body: bytes) -> Reply:
    stages = Stages()
    stages.decode_s, stages.run_s = 0.001, 0.25
    return Reply(body, "m", "1", 1, 7, stages=stages)


def test_the_stages_of_a_prediction_are_in_its_response_and_its_line() -> None:
    lines: list[dict[str, Any]] = []
    response = ask(make_gate(timed, access_log=lines.append))
    assert dict(response.headers)[b"server-timing"] == (
        b"decode;dur=1.000, queue;dur=0.000, run;dur=250.000, commit;dur=0.000, encode;dur=0.000"
    )
    assert (lines[0]["decode_ms"], lines[0]["queue_ms"], lines[0]["run_ms"]) == (1, 0, 250)


def test_the_response_leaves_them_out_on_request_and_others_have_none() -> None:
    lines: list[dict[str, Any]] = []
    gate = make_gate(timed, access_log=lines.append, server_timing=False)
    assert b"server-timing" not in dict(ask(gate).headers) and lines[0]["run_ms"] == 250
    for response in (ask(make_gate()), ask(make_gate(timed), "GET", "/models")):
        assert b"server-timing" not in dict(response.headers)


def test_a_request_is_logged_with_the_trace_that_its_client_names() -> None:
    seen: list[Trace | None] = []

    async def application(_: Request) -> Response:
        seen.append(trace.current.get())
        return Response(204, [], b"")

    lines: list[dict[str, Any]] = []
    gate = make_gate(application=application, access_log=lines.append)
    for headers in ([(b"traceparent", TRACEPARENT)], [], [(b"traceparent", TRACEPARENT)] * 2):
        ask(gate, "GET", "/models", headers)
    ask(gate, "GET", "/models", [(b"traceparent", TRACEPARENT[1:])])
    assert [{name: line[name] for name in TRACE if name in line} for line in lines] == [TRACE, {}, {}, {}]
    assert [one and one.fields for one in seen] == [TRACE, None, None, None]


def test_a_trace_ends_with_its_request_on_a_connection_with_several() -> None:
    async def work() -> None:
        gate = make_gate(timed)
        route = gate.router.find("POST", "/predict")
        await gate.answer(Request("POST", "/predict", [(b"traceparent", TRACEPARENT)]), route)
        assert trace.current.get() is None

    asyncio.run(work())


def test_a_refused_request_is_logged_with_its_id_and_trace() -> None:
    lines: list[dict[str, Any]] = []
    gate = make_gate(access_log=lines.append)
    gate.refuse(
        Overloaded("full"), "POST", "/predict", [(b"x-request-id", b"r"), (b"traceparent", TRACEPARENT)]
    )
    assert lines[0]["id"] == "r" and lines[0]["trace_id"] == TRACE["trace_id"]


class RecordingTracer:
    """Notes each end of a span; implements `Tracer`, and the span of each request."""

    trace = Trace("ab" * 16, "cd" * 8, is_sampled=True)

    def __init__(self) -> None:
        self.started: list[tuple[str, str, Trace | None, str]] = []
        self.ended: list[tuple[str, int | None, str]] = []

    def start(self, method: str, path: str, parent: Trace | None, state: str) -> RequestSpan:
        self.started.append((method, path, parent, state))
        return self

    def end(
        self, route: str, status: int | None, fields: Mapping[str, Any], stages: Stages | None = None
    ) -> None:
        assert stages is None or status == 200
        self.ended.append((route, status, fields.get("code", "ok")))


def test_each_request_is_one_span_whose_name_is_logged() -> None:
    tracer, lines = RecordingTracer(), list[dict[str, Any]]()
    gate = make_gate(timed, access_log=lines.append, tracer=tracer)
    state = [(b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    ask(gate, headers=[(b"traceparent", TRACEPARENT), *state])
    ask(gate, headers=[(b"content-type", b"text/plain")], body=b"x")
    ask(gate, "GET", "/health/live")
    parent = Trace(TRACE["trace_id"], TRACE["span_id"], is_sampled=True)
    assert tracer.started == [("POST", "/predict", parent, "a=1,b=2"), ("POST", "/predict", None, "")]
    assert tracer.ended == [("/predict", 200, "ok"), ("/predict", 415, "unsupported_media_type")]
    assert [line.get("span_id") for line in lines] == ["cd" * 8, "cd" * 8, None]


@pytest.mark.parametrize(
    ("is_draining", "message", "expected"),
    [(False, DISCONNECT, (None, "client_disconnected")), (True, "a forced stop", (503, "draining"))],
)
def test_the_span_of_a_request_that_is_cancelled_ends(
    is_draining: bool, message: str, expected: tuple[int | None, str]
) -> None:
    tracer = RecordingTracer()

    async def endless(_: bytes) -> Reply:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def work() -> None:
        gate = make_gate(endless, tracer=tracer)
        answering = asyncio.ensure_future(
            gate.answer(Request("POST", "/predict", []), gate.router.find("POST", "/predict"))
        )
        await asyncio.sleep(0)
        if is_draining:
            gate.start_draining()
        answering.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await answering

    asyncio.run(work())
    assert tracer.ended == [("/predict", *expected)]
