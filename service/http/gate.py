"""The front: answers the hot routes itself, hands every other request to FastAPI, and logs both.

The hot routes are `POST /predict`, `POST /generate` and the Open Inference Protocol's
`POST /v2/models/…/infer`. The front knows HTTP: sizes, types, ids, hang-ups, status codes, and how each API
tells an error. What lies behind a route is bytes in, bytes out to it.

It is an ASGI application. A server that has read a whole request may ask `answer` instead, without ASGI's
messages between them: so does `service.http.protocol`.
"""

import asyncio
import functools
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from service.errors import (
    UNFORESEEN,
    BodyTimeout,
    BodyTooLarge,
    CellgateError,
    Draining,
    InternalError,
    Unauthorized,
    UnsupportedMediaType,
)
from service.http.bodies import Bodies
from service.http.dialects import INFER, JSON, OTHER, OTHER_V2, PREDICT, Dialect, Headers, retry_headers
from service.http.disconnects import ClientGone, HangUps
from service.predict.predictor import Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = dict[str, Any]  # of a line of the access log
Predict = Callable[[bytes, str], Awaitable[Reply]]  # body, tenant
Infer = Callable[[str, str | None, Mapping[bytes, bytes], bytes, str], Awaitable[Reply]]
Admit = Callable[[Iterable[tuple[bytes, bytes]]], str]  # headers → tenant

logger = logging.getLogger(__name__)

OCTETS = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")
JSON_LENGTH = b"inference-header-content-length"  # of the Open Inference Protocol: bytes follow so much JSON
WHOLE_REPLY = "cellgate.whole_reply"  # ASGI extension: a Response → whether it was taken
OPEN_PATH = re.compile(r"/health/|/v2/health/|/docs|/swagger/|/openapi\.json$")  # for whoever has no key
HEALTH_PATH = re.compile(
    r"/health/|/v2/health/|/v2/models/[^/]+(/versions/[^/]+)?/ready"
)  # while stopping too
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
INFER_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
REQUEST_ID = re.compile(rb"[!-~]{1,128}")
GONE: tuple[int, Fields] = (499, {"code": "client_gone"})  # nginx's number for it; nobody will read it


@dataclass(slots=True)
class Route:
    """A hot route: what answers there, and how it speaks."""

    answer: Predict
    dialect: Dialect


@dataclass(slots=True)  # not frozen, for speed
class Response:
    """A whole HTTP response. `headers` are sound and complete, their names in lower case."""

    status: int
    headers: Headers
    body: bytes


class Front:
    """An ASGI application around `predict`, `infer` and the documented `app`."""

    def __init__(
        self,
        predict: Predict,
        app: App,
        *,
        generate: Predict | None = None,
        infer: Infer | None = None,
        admit: Admit | None = None,
        max_body_bytes: int,
        body_timeout_s: float,
        access_log: Callable[[Fields], None] | None = None,
    ) -> None:
        self._predict_route = Route(predict, PREDICT)
        self._generate_route = Route(generate, PREDICT) if generate else None
        self._infer = infer
        self._admit = admit
        self._app = app
        self._bodies = Bodies(max_body_bytes, body_timeout_s)
        self._access_log = access_log
        self._id_prefix = (
            os.urandom(8).hex().encode()
        )  # random once, then counted: a system call less per request
        self._ids = itertools.count()
        self._hang_ups = HangUps()
        self.is_draining = False
        self.num_running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        request_id = self._request_id(scope["headers"])
        self.num_running += 1
        try:
            route = self.route(scope["path"], scope["headers"]) if scope["method"] == "POST" else None
            if route is not None:
                status, fields = await self._serve(scope, receive, send, request_id, route)
            else:
                status, fields = await self._pass_on(scope, receive, send, request_id)
        finally:
            self.num_running -= 1
        self._log(started, request_id, scope["method"], scope["path"], status, fields)

    def route(self, path: str, headers: Headers) -> Route | None:
        """What answers a POST to `path`, if that is a hot route."""
        if path == "/predict":
            return self._predict_route
        if path == "/generate":
            return self._generate_route
        if self._infer is not None and (asked := INFER_PATH.fullmatch(path)):
            name, version = asked.groups()
            return Route(functools.partial(self._infer, name, version, dict(headers)), INFER)
        return None

    async def answer(self, route: Route, path: str, headers: Headers, body: bytes) -> Response:
        """Answer a POST to a hot route whose body is here. To be cancelled when the client hangs up."""
        started = time.perf_counter()
        request_id = self._request_id(headers)
        self.num_running += 1
        try:
            try:
                tenant = self._let_in(headers, route.dialect)
                self._bodies.check_size(len(body))
            except CellgateError as error:
                response, fields = self._tell(error, request_id, route.dialect)
            else:
                response, fields = await self._answer(route, body, tenant, request_id)
        except asyncio.CancelledError:
            self._log(started, request_id, "POST", path, *GONE)
            raise
        finally:
            self.num_running -= 1
        self._log(started, request_id, "POST", path, response.status, fields)
        return response

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes, route: Route
    ) -> tuple[int, Fields]:
        """Answer a hot request; the status, and what the log says besides."""
        try:
            tenant = self._let_in(scope["headers"], route.dialect)
            body = await self._bodies.read(receive)
            with self._hang_ups.watch(receive):
                response, fields = await self._answer(route, body, tenant, request_id)
        except ClientGone:
            return GONE
        except CellgateError as error:
            response, fields = self._tell(error, request_id, route.dialect)
        await _send(scope, send, response)
        return response.status, fields

    async def _answer(
        self, route: Route, body: bytes, tenant: str, request_id: bytes
    ) -> tuple[Response, Fields]:
        """Whatever happens, an answer: and what the log says of it."""
        try:
            reply = await route.answer(body, tenant)
        except CellgateError as error:
            return self._tell(error, request_id, route.dialect)
        except Exception:
            logger.exception("request %s failed", request_id.decode())
            return self._tell(InternalError(UNFORESEEN), request_id, route.dialect)
        headers = [JSON, (b"x-request-id", request_id), (b"content-length", b"%d" % len(reply.body))]
        if reply.json_length is not None:
            headers[0] = OCTETS
            headers.append((JSON_LENGTH, b"%d" % reply.json_length))
        if self.is_draining:
            headers.append(CLOSE)
        fields = {
            "model": reply.model,
            "version": reply.version,
            "sequences": reply.sequences,
            "steps": reply.steps,
        }
        return Response(200, headers, reply.body), fields

    def _tell(self, error: CellgateError, request_id: bytes, dialect: Dialect) -> tuple[Response, Fields]:
        """An error as its API writes it, and what the log says of it."""
        status, body = dialect.write(error)
        headers = [
            dialect.content_type,
            (b"x-request-id", request_id),
            (b"content-length", b"%d" % len(body)),
            *retry_headers(error),
        ]
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        if self.is_draining or isinstance(error, BodyTooLarge | BodyTimeout):  # the body's rest is not read
            headers.append(CLOSE)
        return Response(status, headers, body), _told(error)

    def _log(
        self, started: float, request_id: bytes, method: str, path: str, status: int, fields: Fields
    ) -> None:
        if self._access_log is not None:
            ms = round((time.perf_counter() - started) * 1000, 3)
            about = {"ms": ms, "id": request_id.decode(), "method": method, "path": path, "status": status}
            self._access_log(fields | about)

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes
    ) -> tuple[int, Fields]:
        """Let FastAPI answer, within the same bounds; add the request id, and read off the status."""
        status = 500

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id)]
                if self.is_draining:
                    message["headers"].append(CLOSE)
            await send(message)

        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        dialect = OTHER_V2 if scope["path"].startswith("/v2") else OTHER
        try:
            if self.is_draining and not HEALTH_PATH.match(scope["path"]):
                raise Draining("the server is stopping")
            if self._admit and not OPEN_PATH.match(scope["path"]):
                state["tenant"] = self._admit(scope["headers"])
            if scope["method"] in WITH_BODY:
                self._check_headers(scope["headers"], dialect)
                receive = _Replay(await self._bodies.read(receive), receive)
        except ClientGone:
            return GONE
        except CellgateError as error:
            response, fields = self._tell(error, request_id, dialect)
            await _send(scope, send, response)
            return response.status, fields
        try:
            await self._app(scope, receive, tagged)
        except Exception:  # which has been answered with 500 before it came here
            logger.exception("request %s failed", request_id.decode())
            return status, _told(InternalError(UNFORESEEN))
        return status, {}

    def _request_id(self, headers: Headers) -> bytes:
        """The client's X-Request-ID if it is fit to be logged, else a new one."""
        for name, value in headers:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                return value
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def _let_in(self, headers: Headers, dialect: Dialect) -> str:
        """The tenant of a request that may go on.

        Raises Draining, what `admit` does, UnsupportedMediaType, BadHeader or BodyTooLarge.
        """
        if self.is_draining:
            raise Draining("the server is stopping")
        tenant = self._admit(headers) if self._admit else ""
        self._check_headers(headers, dialect)
        return tenant

    def _check_headers(self, headers: Headers, dialect: Dialect) -> None:
        for name, value in headers:
            if name == b"content-type":
                dialect.check_type(value)
            elif name == b"content-encoding" and dialect is PREDICT and value.lower() != b"identity":
                raise UnsupportedMediaType(f"content-encoding {value.decode('latin-1')!r}: not read here")
            elif name == b"content-length":
                self._bodies.check_declared(value)


def _told(error: CellgateError) -> Fields:
    """What the log says of an error: where it lies, but nothing that a client sent."""
    fields: Fields = {"code": error.code}
    if error.status >= 500:
        fields["detail"] = error.detail
    if error.pointer is not None:
        fields["pointer"] = error.pointer
    return fields


class _Replay:
    """`receive` for an application behind us: a body we have read, then whatever comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._first = self._first, None
        return message if message is not None else await self._receive()


async def _send(scope: Scope, send: Send, response: Response) -> None:
    extensions = scope.get("extensions")
    if extensions and WHOLE_REPLY in extensions and extensions[WHOLE_REPLY](response):
        return
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})
