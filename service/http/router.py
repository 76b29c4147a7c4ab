"""Which handler answers a path, and what the gate has to know of it before the handler runs.

The inference routes (`POST /predict`, `/generate`, `/v2/models/…/infer`, `/sessions/…/forecast`) are answered
here, without a framework; every other path is answered by the documented application.
"""

import functools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from service.codec.events import END, EventId
from service.codec.v2 import JSON_LENGTH_HEADER
from service.errors import BadHeader, InvalidField
from service.http.body import CheckType, check_json_type, check_nothing, check_tensor_type
from service.http.dialects import PROBLEM, V2, Dialect, dialect_of
from service.http.events import EventHandler, last_event_id
from service.http.messages import JSON, OCTETS, Request, Response
from service.metrics import OTHER
from service.predict import (
    Emit,
    Forecaster,
    Generator,
    Idempotency,
    OpenInference,
    PredictionEvents,
    Predictor,
    Reply,
    TextEvents,
)

Handler = Callable[[Request], Awaitable[Response]]
OpenEvents = Callable[[Emit, EventId | None], PredictionEvents | TextEvents]
UseCase = Callable[..., Awaitable[Reply]]  # `Predictor.predict` or `Generator.generate`

METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
INFER_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
FORECAST_PATH = re.compile(r"/sessions/(.+)/forecast")
FORECAST = "/sessions/{session}/forecast"
INFER, INFER_VERSION = "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
# Answered without an API key.
OPEN_PATH = re.compile(
    r"/health/|/v2/health/|/v2/models/[^/]+(/versions/[^/]+)?/ready$|/docs|/ui$|/ui/|/swagger/|/openapi\.json$"
)
# Answered while the server drains.
HEALTH_PATH = re.compile(r"/health/|/v2/health/|/metrics$")
METRICS_PATH = "/metrics"
MISPLACED = frozenset({"model", "version", "session", "sequence_id", "at", "return"})  # in a query


@dataclass(slots=True, frozen=True)
class Route:
    """A handler, and what the gate checks before it."""

    handler: Handler
    dialect: Dialect
    check_type: CheckType = check_nothing
    reads_body: bool = True
    needs_key: bool = True
    answers_while_draining: bool = False
    is_inference: bool = False
    events: EventHandler | None = None  # of requests that accept server-sent events
    name: str = OTHER  # in metrics; the documented application sets that of its routes in `Request.route`


class Router:
    """The routes of one server."""

    def __init__(
        self,
        predictor: Predictor,
        generator: Generator,
        open_inference: OpenInference,
        application: Handler,
        *,
        metrics_need_key: bool = True,
        root_path: str = "",
        idempotency: Idempotency | None = None,
        forecaster: Forecaster | None = None,
    ) -> None:
        """`metrics_need_key`: whether `GET /metrics` is answered only to those with an API key.

        `idempotency`: answers requests with an Idempotency-Key; None: such a key is ignored.
        `root_path`: below which all routes are, as /ml, for requests whose proxy has not cut it off.
        """
        self.root_path = root_path
        self._open_inference = open_inference
        self._forecaster = forecaster
        self._application = application
        self._metrics_need_key = metrics_need_key
        self._by_path = {
            "/predict": _json_route(
                "/predict",
                functools.partial(_answer, predictor.predict, idempotency),
                functools.partial(_answer_in_events, functools.partial(PredictionEvents, predictor)),
            ),
            "/generate": _json_route(
                "/generate",
                functools.partial(_answer, generator.generate, idempotency),
                functools.partial(_answer_in_events, functools.partial(TextEvents, generator)),
            ),
        }

    def local(self, path: str) -> str:
        """The path without `root_path`, if it has that; `find` takes such paths."""
        root, rest = path[: len(self.root_path)], path[len(self.root_path) :]
        return rest or "/" if root == self.root_path and (not rest or rest.startswith("/")) else path

    def find(self, method: str, path: str) -> Route:
        """The route of a request."""
        return (self.find_inference(path) if method == "POST" else None) or self._application_route(
            method, path
        )

    def find_inference(self, path: str) -> Route | None:
        """The inference route that a POST to `path` belongs to, if any."""
        route = self._by_path.get(path)
        if route is None and (match := INFER_PATH.fullmatch(path)):
            handler = functools.partial(_infer, self._open_inference, match[1], match[2])
            name = INFER if match[2] is None else INFER_VERSION
            return Route(handler, V2, check_tensor_type, is_inference=True, name=name)
        if route is None and self._forecaster and (match := FORECAST_PATH.fullmatch(path)):
            return _json_route(FORECAST, functools.partial(_forecast, self._forecaster, match[1]))
        return route

    def _application_route(self, method: str, path: str) -> Route:
        return Route(
            self._application,
            dialect_of(path),
            reads_body=method in METHODS_WITH_BODY,
            needs_key=self._needs_key(path),
            answers_while_draining=HEALTH_PATH.match(path) is not None,
        )

    def _needs_key(self, path: str) -> bool:
        return self._metrics_need_key if path == METRICS_PATH else OPEN_PATH.match(path) is None


def _json_route(name: str, handler: Handler, events: EventHandler | None = None) -> Route:
    return Route(handler, PROBLEM, check_json_type, is_inference=True, name=name, events=events)


def check_query(query: bytes) -> None:
    """Refuse a query that seems to choose the answer. Others are ignored: proxies add some.

    Raises InvalidField.
    """
    # As text: of bytes, `parse_qs` takes ASCII only.
    if query and (names := MISPLACED & parse_qs(query.decode("latin-1"), keep_blank_values=True).keys()):
        name = min(names)
        raise InvalidField(
            f"the query parameter {name!r} is not read: on /v2, model and version are in the path, "
            "/v2/models/M/versions/V/…; all else is in the body"
        )


async def _answer(use_case: UseCase, idempotency: Idempotency | None, request: Request) -> Response:
    check_query(request.query)
    if not request.idempotency_key or idempotency is None:
        return _response(await use_case(request.body, tenant=request.tenant))
    run = functools.partial(use_case, request.body, tenant=request.tenant, is_keyed=True)
    content = request.path.encode() + b"\0" + request.body
    reply = await idempotency.answer(request.idempotency_key, content, run, tenant=request.tenant)
    return _response(reply)


async def _answer_in_events(open_events: OpenEvents, request: Request, emit: Emit) -> Response:
    check_query(request.query)
    if request.idempotency_key:
        raise BadHeader("Idempotency-Key: an event stream is resumed with Last-Event-ID")
    last = last_event_id(request.headers)
    if last == END:  # it has them all; 204 tells it not to connect again (HTML, 9.2.3)
        return Response(204, [], b"")
    events = open_events(emit, EventId.parse(last) if last else None)
    return _response(await events.answer(request.body, tenant=request.tenant))


async def _infer(open_inference: OpenInference, name: str, version: str | None, request: Request) -> Response:
    check_query(request.query)
    headers = dict(request.headers)
    return _response(await open_inference.infer(name, version, headers, request.body, request.tenant))


async def _forecast(forecaster: Forecaster, session: str, request: Request) -> Response:
    check_query(request.query)
    return _response(await forecaster.forecast(session, request.body, tenant=request.tenant))


def _response(reply: Reply) -> Response:
    headers = [JSON, (b"content-length", b"%d" % len(reply.body))]
    if reply.json_length is not None:
        headers[0] = OCTETS
        headers.append((JSON_LENGTH_HEADER, b"%d" % reply.json_length))
    if reply.is_replayed:
        headers.append((b"idempotent-replayed", b"true"))
    log = {
        "model": reply.model,
        "version": reply.version,
        "sequences": reply.sequences,
        "steps": reply.steps,
    }
    if reply.step is not None:
        log["step"] = reply.step
    return Response(200, headers, reply.body, log, reply.stages)
