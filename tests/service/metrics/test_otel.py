"""Spans as a collector gets them: in the SDK's memory, and over HTTP as protobuf."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from service.metrics import OTHER, otel
from service.metrics.otel import OtelTracer, create
from service.stages import Stages
from service.trace import Trace
from tests.service.collector import Collector

PARENT = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", is_sampled=True)


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(memory: InMemorySpanExporter) -> OtelTracer:
    return OtelTracer(SimpleSpanProcessor(memory))


def stages_of(**seconds: float) -> Stages:
    stages = Stages()
    for name, value in seconds.items():
        setattr(stages, f"{name}_s", value)
    return stages


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_a_server_span_by_the_conventions(
    tracer: OtelTracer, memory: InMemorySpanExporter
) -> None:
    span = tracer.start("POST", "/predict", None, "")
    fields = {"model": "m", "version": "2", "sequences": 1, "steps": 3, "step": 9, "ms": 1.5}
    span.end("/predict", 200, fields)
    (ended,) = memory.get_finished_spans()
    assert (ended.name, ended.kind, ended.parent) == ("POST /predict", SpanKind.SERVER, None)
    assert ended.resource.attributes["service.name"] == "cellgate"
    assert attributes_of(ended) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
        "cellgate.model": "m",
        "cellgate.version": "2",
        "cellgate.sequences": 1,
        "cellgate.steps": 3,
        "cellgate.step": 9,
    }
    assert ended.status.status_code is StatusCode.UNSET
    assert ended.context and span.trace.trace_id == format_trace_id(ended.context.trace_id)
    assert span.trace.span_id == format_span_id(ended.context.span_id) and span.trace.is_sampled


def test_the_client_names_parent_and_state(tracer: OtelTracer, memory: InMemorySpanExporter) -> None:
    span = tracer.start("GET", "/models", PARENT, "vendor=1,other=2")
    span.end("/models", 200, {})
    (ended,) = memory.get_finished_spans()
    assert ended.parent and ended.parent.is_remote and ended.context
    assert format_span_id(ended.parent.span_id) == PARENT.span_id
    assert format_trace_id(ended.context.trace_id) == span.trace.trace_id == PARENT.trace_id
    assert ended.context.trace_state.to_header() == "vendor=1,other=2"
    assert span.trace.span_id != PARENT.span_id


def test_a_trace_that_its_client_does_not_sample_is_not_recorded(
    tracer: OtelTracer, memory: InMemorySpanExporter
) -> None:
    span = tracer.start("POST", "/predict", PARENT._replace(is_sampled=False), "")
    span.end("/predict", 200, {}, stages_of(run=1.0))
    assert not memory.get_finished_spans()
    assert (span.trace.trace_id, span.trace.is_sampled) == (PARENT.trace_id, False)


def test_stages_are_spans_in_a_row_within_the_request(
    tracer: OtelTracer, memory: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10**18
    monkeypatch.setattr("time.time_ns", lambda: now)
    for seconds in (1.0, 0.001):  # of all, longer and shorter than the stages
        span = tracer.start("POST", "/predict", PARENT, "")
        now += round(seconds * 1e9)
        span.end("/predict", 200, {}, stages_of(decode=0.001, queue=0.002, run=0.004, encode=0.001))
    monkeypatch.undo()
    *inner, outer = memory.get_finished_spans()[:5]
    assert [one.name for one in inner] == ["decode", "queue", "run", "encode"]
    lengths = [(one.end_time or 0) - (one.start_time or 0) for one in inner]
    assert lengths == [1_000_000, 2_000_000, 4_000_000, 1_000_000]
    assert inner[-1].end_time == outer.end_time
    for one, following in itertools.pairwise(inner):
        assert one.end_time == following.start_time
    for one in inner:
        assert one.parent and outer.context and one.parent.span_id == outer.context.span_id
    *inner, outer = memory.get_finished_spans()[5:]
    assert len(inner) == 4, "cut to the request"
    for one in inner:
        assert (
            (outer.start_time or 0) <= (one.start_time or 0) <= (one.end_time or 0) <= (outer.end_time or 0)
        )


@pytest.mark.parametrize(
    ("status", "route", "method", "expected"),
    [
        (503, "/predict", "POST", {"error.type": "why", "http.route": "/predict"}),
        (404, OTHER, "POST", {}),
        (None, "/predict", "POST", {"http.route": "/predict"}),
        (400, OTHER, "BREW", {"http.request.method_original": "BREW"}),
    ],
)
def test_what_fails_has_its_code(
    tracer: OtelTracer,
    memory: InMemorySpanExporter,
    status: int | None,
    route: str,
    method: str,
    expected: dict[str, str],
) -> None:
    tracer.start(method, "/x", None, "").end(route, status, {"code": "why", "detail": "a text"})
    (ended,) = memory.get_finished_spans()
    attributes = attributes_of(ended)
    base = {"url.path": "/x", "url.scheme": "http", "cellgate.code": "why"}
    base["http.request.method"] = "POST" if method == "POST" else "_OTHER"
    if status is not None:
        assert attributes.pop("http.response.status_code") == status
    assert attributes == base | expected
    assert ended.status.status_code is (StatusCode.ERROR if status == 503 else StatusCode.UNSET)
    name = "POST" if method == "POST" else "HTTP"
    assert ended.name == (name if route == OTHER else f"{name} {route}")


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it took too long")


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.mark.parametrize("named_by", ["setting", "variable"])
def test_a_collector_gets_the_spans_as_protobuf(
    collector: Collector, named_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gate-7")
    tracer = create(collector.url + "/" if named_by == "setting" else "")
    tracer.start("POST", "/predict", PARENT, "").end("/predict", 200, {"model": "m"}, stages_of(run=0.5))
    tracer.close()
    assert collector.paths == ["/v1/traces"]
    stage, request = collector.spans
    assert (stage.name, request.name) == ("run", "POST /predict")
    assert request.trace_id.hex() == PARENT.trace_id and request.parent_span_id.hex() == PARENT.span_id
    assert stage.parent_span_id == request.span_id
    attributes = {one.key: one.value.string_value for one in request.attributes}
    assert attributes["cellgate.model"] == "m"
    resource = {
        one.key: one.value.string_value for one in collector.requests[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "gate-7"


def test_a_dead_collector_costs_one_line_and_no_time(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "FLUSH_S", 0.05)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    collector.close()
    with caplog.at_level(logging.INFO):
        tracer = create(collector.url)
        for _ in range(20):
            tracer.start("POST", "/predict", None, "").end("/predict", 200, {})
        wait_for(lambda: bool(caplog.records))
        tracer.close()
    assert len(caplog.records) == 1, [record.getMessage() for record in caplog.records]
    for name in otel.LOGGERS:
        assert not any(isinstance(one, otel.Exporter) for one in logging.getLogger(name).filters)


def test_a_collector_that_answers_again_is_logged(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    collector.status = 400  # not to be tried again
    with caplog.at_level(logging.INFO):
        tracer = create(collector.url)
        for _ in range(2):
            tracer.start("POST", "/predict", None, "").end("/predict", 200, {})
            assert collector.has_some.wait(60)
            collector.has_some.clear()
        wait_for(lambda: bool(caplog.records))
        collector.status = 200
        tracer.start("POST", "/predict", None, "").end("/predict", 200, {})
        tracer.close()
    levels = [(record.levelname, record.getMessage().split(" batch")[0]) for record in caplog.records]
    assert levels == [("ERROR", "Failed to export spans"), ("INFO", "spans are exported again")]
