"""What is recorded of each request: counts, a span, and a line of the access log."""

import time
from collections.abc import Callable

from service.http.messages import Fields, Request
from service.metrics import Requests, Tracer
from service.stages import Stages


class Records:
    """Where the end of each request is recorded."""

    def __init__(
        self,
        requests: Requests | None,
        access_log: Callable[[Fields], None] | None,
        tracer: Tracer | None,
    ) -> None:
        """Each may be None: then it is not recorded there."""
        self._requests = requests
        self._access_log = access_log
        self._tracer = tracer

    def start_span(self, request: Request) -> None:
        """Begin the span of a request, if spans are recorded; its trace is then the span's."""
        if self._tracer is None:
            return
        state = b",".join([value for name, value in request.headers if name == b"tracestate"])
        request.span = self._tracer.start(
            request.method, request.path, request.trace, state.decode("latin-1")
        )
        request.trace = request.span.trace

    def end(
        self,
        started: float,
        request: Request,
        route: str,
        status: int,
        fields: Fields,
        stages: Stages | None = None,
    ) -> None:
        """Count and log a request."""
        seconds = time.perf_counter() - started
        if self._requests is not None:
            self._requests.add(request.route or route, status, fields, seconds, stages)
        if request.span is not None:
            request.span.end(request.route or route, None if status == 499 else status, fields, stages)
        if self._access_log is None:
            return
        line = fields | {
            "ms": seconds * 1e6 // 1 / 1e3,
            "id": request.id.decode(),
            "method": request.method,
            "path": request.path,
            "status": status,
        }
        if stages is not None:
            stages.add_to(line)
        if request.trace is not None:
            line |= request.trace.fields
        self._access_log(line)
