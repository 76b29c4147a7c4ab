"""Spans of requests, by OpenTelemetry: one for each request, and one in it for each of its stages.

It needs the extra `otel`. The SDK exports in a thread of its own: a collector that does not answer costs the
event loop nothing. Names follow the semantic conventions for HTTP servers.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as SdkTracer

from service.metrics.requests import OTHER
from service.stages import STAGES, Stages
from service.trace import Trace

FLUSH_S = 2.0  # for the last spans, at the stop
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Fields of the access log that a span has too.
ATTRIBUTES = {name: f"cellgate.{name}" for name in ("model", "version", "sequences", "steps", "step", "code")}
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")

logger = logging.getLogger(__name__)


class OtelTracer:
    """Implements `Tracer`."""

    def __init__(self, processor: SpanProcessor, exporter: "Exporter | None" = None) -> None:
        """`processor`: gets each span that has ended. The variables OTEL_* choose sampler and resource.

        `exporter`: of the processor, to be interrupted if it takes too long at the stop.
        """
        self._exporter = exporter
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("cellgate")

    def start(self, method: str, path: str, parent: Trace | None, state: str) -> "OtelSpan":
        """A request begins, as a child of `parent`."""
        known = method if method in METHODS else "_OTHER"
        attributes = {"http.request.method": known, "url.path": path, "url.scheme": "http"}
        if known != method:
            attributes["http.request.method_original"] = method
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_remote(parent, state)), context)
        name = method if known == method else "HTTP"
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes, start_time=time.time_ns())
        return OtelSpan(self._tracer, span, name)

    def close(self) -> None:
        """Export what is left, for at most `FLUSH_S`; a collector that does not answer is not waited for."""
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        closing.join(FLUSH_S)
        if self._exporter is not None:
            self._exporter.shutdown()
            closing.join(FLUSH_S)
            self._exporter.release()


class OtelSpan:
    """Implements `RequestSpan`."""

    __slots__ = ("_name", "_span", "_tracer", "trace")

    def __init__(self, tracer: SdkTracer, span: Span, name: str) -> None:
        self._tracer, self._span, self._name = tracer, span, name
        context = span.get_span_context()
        self.trace = Trace(
            format_trace_id(context.trace_id), format_span_id(context.span_id), context.trace_flags.sampled
        )

    def end(
        self, route: str, status: int | None, fields: Mapping[str, Any], stages: Stages | None = None
    ) -> None:
        """End the span, with its stages in it."""
        span = self._span
        if not span.is_recording():
            return
        if route != OTHER:
            span.update_name(f"{self._name} {route}")
            span.set_attribute("http.route", route)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        for name, value in fields.items():
            if name in ATTRIBUTES:
                span.set_attribute(ATTRIBUTES[name], value)
        if status is not None and status >= 500:
            span.set_attribute("error.type", fields.get("code", str(status)))
            span.set_status(StatusCode.ERROR)
        now = time.time_ns()
        if stages is not None:
            self._add_stages(stages, now)
        span.end(now)

    def _add_stages(self, stages: Stages, end: int) -> None:
        """Each stage is one span as long as all its parts, which may have alternated with those of others.

        They are in a row that ends with the request. Of several sequences they may be longer than the request
        together; then they are cut.
        """
        started: int = getattr(self._span, "start_time", end)
        lengths = [round(getattr(stages, f"{name}_s") * 1e9) for name in STAGES]
        at = max(started, end - sum(lengths))
        inside = set_span_in_context(self._span, Context())
        for name, length in zip(STAGES, lengths, strict=True):
            if length > 0:
                stage = self._tracer.start_span(name, inside, start_time=min(at, end))
                at += length
                stage.end(min(at, end))


class Exporter(SpanExporter, logging.Filter):
    """Passes spans on; of many log lines about a collector that does not answer, only the first."""

    def __init__(self, wrapped: SpanExporter) -> None:
        logging.Filter.__init__(self)
        self._wrapped = wrapped
        self._is_failing = self._is_shut_down = False
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Whether the library may log: once, until a batch is exported."""
        was_failing, self._is_failing = self._is_failing, True
        return not was_failing

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called in the processor's thread. May block for the exporter's time-out."""
        result = self._wrapped.export(spans)
        if result is SpanExportResult.SUCCESS and self._is_failing:
            self._is_failing = False
            logger.info("spans are exported again")
        return result

    def shutdown(self) -> None:
        """No further spans follow; an export under way is given up."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        self._wrapped.shutdown()

    def release(self) -> None:
        """Filter no more."""
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self)


def create(endpoint: str) -> OtelTracer:
    """A tracer that exports to an OTLP/HTTP collector. "": to the one that the variables OTEL_* name."""
    url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
    exporter = Exporter(OTLPSpanExporter(endpoint=url))
    return OtelTracer(BatchSpanProcessor(exporter), exporter)


def _resource() -> Resource:
    """What the variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, with defaults."""
    resource = Resource({"process.pid": os.getpid()}).merge(Resource.create())
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "cellgate"}))
    return resource


def _remote(parent: Trace, state: str) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=flags,
        trace_state=TraceState.from_header([state]),
    )
