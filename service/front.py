"""The ASGI front: answers POST /predict itself, hands every other request to FastAPI, and logs both.

It knows HTTP: sizes, types, ids, hang-ups, status codes. `predict` is bytes in, bytes out to it.
"""

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from service.errors import (
    BadHeader,
    BodyTimeout,
    BodyTooLarge,
    CellgateError,
    Draining,
    InternalError,
    UnsupportedMediaType,
)
from service.predict import Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

logger = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")
REQUEST_ID = re.compile(rb"[!-~]{1,128}")
HANG_UP_CHECK_S = 0.05  # a request shorter than this is answered whether or not the client is still there


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


class Front:
    """An ASGI application around `predict` and the documented `app`."""

    def __init__(
        self,
        predict: Callable[[bytes], Awaitable[Reply]],
        app: App,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
        access_log: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._predict = predict
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._access_log = access_log
        self._id_prefix = (
            os.urandom(8).hex().encode()
        )  # random once, then counted: a system call less per request
        self._ids = itertools.count()
        self.is_draining = False
        self.num_running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        self.num_running += 1
        try:
            if scope["path"] == "/predict" and scope["method"] == "POST":
                status, fields = await self._serve_predict(scope, receive, send, request_id)
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

    async def _serve_predict(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes
    ) -> tuple[int, dict[str, Any]]:
        headers = [JSON, (b"x-request-id", request_id)]
        try:
            if self.is_draining:
                raise Draining("the server is stopping")
            body = await self._read_body(scope, receive)
            with _HangUpWatch(receive):
                reply = await self._predict(body)
        except ClientGone:
            return 499, {"code": "client_gone"}  # nginx's number for it; nobody will read it
        except CellgateError as error:
            await _send(
                send, error.status, problem_headers(error, request_id, self.is_draining), problem_body(error)
            )
            return error.status, {"code": error.code, "detail": error.detail}
        except Exception:
            logger.exception("request %s failed", request_id.decode())
            unknown = InternalError("something went wrong; the log has it under this request's id")
            await _send(send, 500, problem_headers(unknown, request_id, False), problem_body(unknown))
            return 500, {"code": unknown.code}
        if self.is_draining:
            headers.append((b"connection", b"close"))
        await _send(send, 200, headers, reply.body)
        return 200, {
            "model": reply.model,
            "version": reply.version,
            "sequences": reply.sequences,
            "steps": reply.steps,
        }

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Let FastAPI answer; add the request id, and read the status off for the log."""
        status = 500

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id)]
            await send(message)

        await self._app(scope, receive, tagged)
        return status, {}

    def _request_id(self, scope: Scope) -> bytes:
        """The client's X-Request-ID if it is fit to be logged, else a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                given: bytes = value
                return given
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises UnsupportedMediaType, BodyTooLarge, BodyTimeout, BadHeader or ClientGone."""
        for name, value in scope["headers"]:
            if name == b"content-type":
                _check_content_type(value)
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


def problem_headers(error: CellgateError, request_id: bytes, close: bool) -> Headers:
    """Response headers for an error, Retry-After (RFC 9110, 10.2.3) where trying again can help."""
    headers = [PROBLEM, (b"x-request-id", request_id)]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    if close or isinstance(error, BodyTooLarge | BodyTimeout):  # the rest of the body will not be read
        headers.append((b"connection", b"close"))
    return headers


def problem_body(error: CellgateError) -> bytes:
    """The error as application/problem+json."""
    return orjson.dumps(error.problem())


class _HangUpWatch:
    """Cancels the block, and makes it raise ClientGone, once the client has hung up.

    Listening costs a task, so it begins only after `HANG_UP_CHECK_S`: most requests are answered by then.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(HANG_UP_CHECK_S, self._start)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_gone and self._task is not None:
            self._task.uncancel()
            raise ClientGone from error

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._is_gone = True
            self._task.cancel()


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_content_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise UnsupportedMediaType(f"expected application/json, got {value.decode('latin-1')!r}")


def _content_length(value: bytes) -> int:
    if not value.isdigit():
        raise BadHeader(f"content-length is {value.decode('latin-1')!r}")
    return int(value)
