"""The interface between the gate and a tracer. `otel` implements it with OpenTelemetry, which is an extra."""

from collections.abc import Mapping
from typing import Any, Protocol

from service.stages import Stages
from service.trace import Trace


class RequestSpan(Protocol):
    """The span of one request, from its start to its end."""

    @property
    def trace(self) -> Trace:
        """What log lines about the request name."""
        ...

    def end(
        self, route: str, status: int | None, fields: Mapping[str, Any], stages: Stages | None = None
    ) -> None:
        """The request has been answered, or (`status` None) its client has disconnected. Called once.

        `route`: the template of its path, `OTHER` if there is none. `fields`: of its line in the access log.
        """
        ...


class Tracer(Protocol):
    """Records a span for each request."""

    def start(self, method: str, path: str, parent: Trace | None, state: str) -> RequestSpan:
        """A request begins. `state`: its header tracestate."""
        ...
