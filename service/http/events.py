"""Server-sent events (the HTML standard, 9.2): which requests want them, how they are written, how they fail.

    errors before the first event ──→ a response with their status, as without events
    head and first event ─ event ─ … ─ `end`
                                  └─ `error`: a problem document; the status was sent with the head

Written here because an event is three lines: the responses of sse-starlette and of FastAPI are ASGI
applications, and inference routes are answered without those. It knows nothing of models or sessions.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import orjson

from service.errors import BadHeader, CellgateError, Draining, InternalError
from service.http.codings import WEIGHT
from service.http.dialects import PROBLEM, render
from service.http.messages import DISCONNECT, JSON, ClientDisconnected, Headers, Outlet, Request, Response
from service.http.readiness import Readiness
from service.predict import Emit, Event

EVENT_STREAM = b"text/event-stream"
LAST_EVENT_ID = b"last-event-id"
HEADERS = [
    (b"content-type", EVENT_STREAM),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx passes each event on at once
]

EventHandler = Callable[[Request, Emit], Awaitable[Response]]
Finish = Callable[[Request, Response], None]

logger = logging.getLogger(__name__)


def wants_events(accept: bytes) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) names events, and JSON as worse or not at all.

    An invalid entry accepts nothing.
    """
    weights: dict[bytes, float] = {}
    for entry in accept.lower().split(b","):
        name, *parameters = (part.strip() for part in entry.split(b";"))
        weights[name] = _weight(parameters)
    events = weights.get(EVENT_STREAM, 0.0)
    if JSON[1] in weights:
        return events > weights[JSON[1]]
    ranges = (b"application/*", b"*/*")
    return events > 0 and events >= next((weights[name] for name in ranges if name in weights), 0.0)


def _weight(parameters: list[bytes]) -> float:
    """The parameter q, 1 by default."""
    for parameter in parameters:
        if parameter.startswith(b"q="):
            match = WEIGHT.fullmatch(parameter)
            return float(match[1]) if match else 0.0
    return 1.0


def last_event_id(headers: Headers) -> str:
    """The id of the last event that the client has; "" if it has none. Raises BadHeader for several."""
    values = [value for name, value in headers if name == LAST_EVENT_ID]
    if len(values) > 1:
        raise BadHeader("expected one header Last-Event-ID")
    return values[0].decode("latin-1").strip() if values else ""


def write_event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One event as it is sent; `data`: without line breaks, as JSON is."""
    lines = [b"event: %b\n" % name.encode()]
    if event_id is not None:
        lines.append(b"id: %b\n" % event_id.encode())
    lines.append(b"data: %b\n\n" % data)
    return b"".join(lines)


async def respond(
    handler: EventHandler,
    request: Request,
    route: str,
    finish: Finish,
    readiness: Readiness,
) -> Response:
    """Answer a request in events. If any was sent, the returned response is for the log alone.

    `route`: its name in metrics. `finish`: adds to the head what every response has. An error after the first
    event has its status in the returned response. Raises what `handler` raises before the first event.
    """
    request.route = f"{route} (events)"  # a response that lasts is counted apart
    events = _Events(request, finish)
    failure: CellgateError
    try:
        response = await handler(request, events.emit)
        response.log["events"] = events.num_sent
        return response
    except CellgateError as error:
        if not events.num_sent:
            raise
        failure = error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if not events.num_sent or DISCONNECT in error.args or not readiness.is_draining or task is None:
            raise
        task.uncancel()
        failure = Draining("the server stopped; send the request again with Last-Event-ID")
    except ClientDisconnected:
        raise
    except Exception:
        if not events.num_sent:
            raise
        logger.exception("request %s failed", request.id.decode())
        failure = InternalError()
    await events.fail(failure)
    response = render(failure, PROBLEM)
    response.log["events"] = events.num_sent
    return response


class _Events:
    """The events of one response."""

    def __init__(self, request: Request, finish: Finish) -> None:
        self.num_sent = 0
        self._request = request
        self._finish = finish
        self._outlet: Outlet | None = None

    async def emit(self, event: Event) -> None:
        """Send an event; before the first, the head. After the last one the response is complete."""
        part = write_event(event.name, event.data, event.id)
        self.num_sent += 1
        if self._outlet is None:
            assert self._request.outlets is not None
            self._outlet = self._request.outlets.open_outlet()
            head = Response(200, list(HEADERS), b"")
            self._finish(self._request, head)
            await self._outlet.start(head, b"" if event.is_last else part)
        elif not event.is_last:
            await self._outlet.write(part)
        if event.is_last:
            await self._outlet.end(part)

    async def fail(self, error: CellgateError) -> None:
        """Send an error, the last event."""
        assert self._outlet is not None
        part = write_event("error", orjson.dumps(error.problem()))
        await self._outlet.end(part, closes=isinstance(error, Draining))
