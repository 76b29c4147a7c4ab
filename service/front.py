"""The ASGI front: answers the hot routes itself, hands every other request to FastAPI, and logs both.

The hot routes are `POST /predict`, `POST /generate` and the Open Inference Protocol's
`POST /v2/models/…/infer`. The front knows HTTP: sizes, types, ids, hang-ups, status codes, and how each API
tells an error. What lies behind a route is bytes in, bytes out to it.
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

import orjson

from service.errors import (
    UNFORESEEN,
    BadHeader,
    BodyTimeout,
    BodyTooLarge,
    CellgateError,
    Draining,
    InternalError,
    Unauthorized,
    UnsupportedMediaType,
)
from service.hangup import ClientGone, HangUps
from service.predict import Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Predict = Callable[[bytes, str], Awaitable[Reply]]  # body, tenant
Infer = Callable[[str, str | None, Mapping[bytes, bytes], bytes, str], Awaitable[Reply]]
Admit = Callable[[Iterable[tuple[bytes, bytes]]], str]  # headers → tenant

logger = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")
OCTETS = (b"content-type", b"application/octet-stream")
CLOSE = (b"connection", b"close")
WHOLE_REPLY = "cellgate.whole_reply"  # ASGI extension: (status, headers, body) → whether it was taken
JSON_LENGTH = b"inference-header-content-length"  # of the Open Inference Protocol: bytes follow so much JSON
OPEN_PATH = re.compile(r"/health/|/v2/health/|/docs|/swagger/|/openapi\.json$")  # for whoever has no key
HEALTH_PATH = re.compile(
    r"/health/|/v2/health/|/v2/models/[^/]+(/versions/[^/]+)?/ready"
)  # while stopping too
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
INFER_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


@dataclass(slots=True, frozen=True)
class Dialect:
    """What differs between the hot routes: the content types they read, and how they tell an error."""

    check_type: Callable[[bytes], None]
    content_type: tuple[bytes, bytes]  # of an error
    write: Callable[[CellgateError], tuple[int, bytes]]  # status and body of an error


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
        access_log: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._predict = predict
        self._generate = generate
        self._infer = infer
        self._admit = admit
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
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
        request_id = self._request_id(scope)
        self.num_running += 1
        try:
            hot = self._hot_route(scope) if scope["method"] == "POST" else None
            if hot is not None:
                status, fields = await self._serve(scope, receive, send, request_id, *hot)
            else:
                status, fields = await self._pass_on(scope, receive, send, request_id)
        finally:
            self.num_running -= 1
        if self._access_log is not None:
            fields["ms"] = round((time.perf_counter() - started) * 1000, 3)
            fields |= {
                "id": request_id.decode(),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
            }
            self._access_log(fields)

    def _hot_route(self, scope: Scope) -> tuple[Predict, Dialect] | None:
        path = scope["path"]
        if path == "/predict":
            return self._predict, PREDICT
        if self._generate is not None and path == "/generate":
            return self._generate, PREDICT
        if self._infer is not None and (asked := INFER_PATH.fullmatch(path)):
            name, version = asked.groups()
            return functools.partial(self._infer, name, version, dict(scope["headers"])), INFER
        return None

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: bytes,
        answer: Predict,
        dialect: Dialect,
    ) -> tuple[int, dict[str, Any]]:
        """Answer a hot request; the status, and what the log says besides."""
        try:
            if self.is_draining:
                raise Draining("the server is stopping")
            tenant = self._admit(scope["headers"]) if self._admit else ""
            body = await self._read_body(scope, receive, dialect)
            with self._hang_ups.watch(receive):
                reply = await answer(body, tenant)
        except ClientGone:
            return 499, {"code": "client_gone"}  # nginx's number for it; nobody will read it
        except CellgateError as error:
            return await self._tell(scope, send, error, request_id, dialect), told(error)
        except Exception:
            logger.exception("request %s failed", request_id.decode())
            unknown = InternalError(UNFORESEEN)
            return await self._tell(scope, send, unknown, request_id, dialect), told(unknown)
        headers = [JSON, (b"x-request-id", request_id)]
        if reply.json_length is not None:
            headers[0] = OCTETS
            headers.append((JSON_LENGTH, b"%d" % reply.json_length))
        if self.is_draining:
            headers.append(CLOSE)
        await _send(scope, send, 200, headers, reply.body)
        return 200, {
            "model": reply.model,
            "version": reply.version,
            "sequences": reply.sequences,
            "steps": reply.steps,
        }

    async def _tell(
        self, scope: Scope, send: Send, error: CellgateError, request_id: bytes, dialect: Dialect
    ) -> int:
        status, body = dialect.write(error)
        headers = [dialect.content_type, (b"x-request-id", request_id), *retry_headers(error)]
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        if self.is_draining or isinstance(error, BodyTooLarge | BodyTimeout):  # the body's rest is not read
            headers.append(CLOSE)
        await _send(scope, send, status, headers, body)
        return status

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes
    ) -> tuple[int, dict[str, Any]]:
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
                receive = _Replay(await self._read_body(scope, receive, dialect), receive)
        except ClientGone:
            return 499, {"code": "client_gone"}
        except CellgateError as error:
            return await self._tell(scope, send, error, request_id, dialect), told(error)
        try:
            await self._app(scope, receive, tagged)
        except Exception:  # which has been answered with 500 before it came here
            logger.exception("request %s failed", request_id.decode())
            return status, told(InternalError(UNFORESEEN))
        return status, {}

    def _request_id(self, scope: Scope) -> bytes:
        """The client's X-Request-ID if it is fit to be logged, else a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                given: bytes = value
                return given
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    async def _read_body(self, scope: Scope, receive: Receive, dialect: Dialect) -> bytes:
        """The whole body. Raises UnsupportedMediaType, BodyTooLarge, BodyTimeout, BadHeader or ClientGone."""
        for name, value in scope["headers"]:
            if name == b"content-type":
                dialect.check_type(value)
            elif name == b"content-encoding" and dialect is PREDICT and value.lower() != b"identity":
                raise UnsupportedMediaType(f"content-encoding {value.decode('latin-1')!r}: not read here")
            elif name == b"content-length":
                self._check_size(_content_length(value))
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body") or message["type"] == "http.disconnect":
            try:
                async with asyncio.timeout(self._body_timeout_s):
                    body = await self._read_rest(message, receive)
            except TimeoutError as error:
                raise BodyTimeout(f"the body did not arrive within {self._body_timeout_s:g} s") from error
        self._check_size(len(body))
        return body

    async def _read_rest(self, message: Message, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self._check_size(size)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise BodyTooLarge(f"the body has {size} bytes or more, at most {self._max_body_bytes} are taken")


def told(error: CellgateError) -> dict[str, Any]:
    """What the log says of an error: where it lies, but nothing that a client sent."""
    fields: dict[str, Any] = {"code": error.code}
    if error.status >= 500:
        fields["detail"] = error.detail
    if error.pointer is not None:
        fields["pointer"] = error.pointer
    return fields


def retry_headers(error: CellgateError) -> Headers:
    """Retry-After (RFC 9110, 10.2.3) where trying again can help."""
    return [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]


def write_problem(error: CellgateError) -> tuple[int, bytes]:
    """Status and body of an error as application/problem+json (RFC 9457)."""
    return error.status, orjson.dumps(error.problem())


def write_v2_error(error: CellgateError) -> tuple[int, bytes]:
    """Status and body of an error in the Open Inference Protocol, which knows no 422.

    Beside its "error" there is our "code", stable and one per cause, and what the problem has further.
    """
    status = 400 if error.status == 422 else error.status
    return status, orjson.dumps({"error": error.detail, "code": error.code} | error.members)


class _Replay:
    """`receive` for an application behind us: a body we have read, then whatever comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._first = self._first, None
        return message if message is not None else await self._receive()


async def _send(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    if "extensions" in scope and WHOLE_REPLY in scope["extensions"]:
        reply: Callable[[int, Headers, bytes], bool] = scope["extensions"][WHOLE_REPLY]
        if reply(status, headers, body):
            return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_json_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise UnsupportedMediaType(f"expected application/json, got {value.decode('latin-1')!r}")


def _check_tensor_type(value: bytes) -> None:
    if value.partition(b";")[0].strip().lower() != b"application/octet-stream":
        _check_json_type(value)


def _content_length(value: bytes) -> int:
    if not value.isdigit():
        raise BadHeader(f"content-length is {value.decode('latin-1')!r}")
    return int(value)


def _check_no_type(_: bytes) -> None:
    """FastAPI looks at the type where there is one to look for."""


PREDICT = Dialect(_check_json_type, PROBLEM, write_problem)
INFER = Dialect(_check_tensor_type, JSON, write_v2_error)
OTHER = Dialect(_check_no_type, PROBLEM, write_problem)
OTHER_V2 = Dialect(_check_no_type, JSON, write_v2_error)
