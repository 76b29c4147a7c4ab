"""The one way from a whole request to a whole response.

    request ─ preflight? ─ draining? ─ key, rate ─ type, size ─ body, decoded ─ handler ─→ response
                              503       401, 429    415, 413    408, 413, 501     any CellgateError, or 500
    response ─ encoded ─ marked for other origins ─ access log

The adapters (`asgi`, `fast_path`) carry bytes to it and from it. The gate knows HTTP's rules; it knows
nothing of sockets, ASGI, models or sessions.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from service import trace
from service.errors import BadHttp, CellgateError, Draining, InternalError
from service.http.body import BodyLimits, ReadPart
from service.http.codings import Codings
from service.http.cors import Cors
from service.http.dialects import dialect_of, render
from service.http.events import EVENT_STREAM, respond, wants_events
from service.http.identities import Identities
from service.http.keys import Guard
from service.http.messages import CLOSE, DISCONNECT, ClientDisconnected, Fields, Headers, Request, Response
from service.http.readiness import Readiness
from service.http.records import Records
from service.http.router import Route, Router, check_query
from service.http.stream_handshake import Accepted
from service.http.stream_sockets import StreamSockets
from service.memory import BYTES_PER_BODY_BYTE
from service.metrics import OTHER, Requests, Tracer

logger = logging.getLogger(__name__)

# About the body, and the response to it.
BODY_HEADERS = frozenset(
    {b"content-type", b"content-encoding", b"content-length", b"idempotency-key", b"accept"}
)
COUNTED_REPLY = 16 << 10  # bytes; what is smaller is written at once, as a rule
DISCONNECTED: tuple[int, Fields] = (
    499,
    {"code": "client_disconnected"},
)  # nginx's number; no client receives it


class Gate:
    """Answers requests, each exactly once, and logs them."""

    def __init__(
        self,
        router: Router,
        readiness: Readiness,
        limits: BodyLimits,
        *,
        guard: Guard | None = None,
        access_log: Callable[[Fields], None] | None = None,
        requests: Requests | None = None,
        codings: Codings,
        cors: Cors | None = None,
        server_timing: bool = True,
        tracer: Tracer | None = None,
        streams: StreamSockets | None = None,
    ) -> None:
        """`guard`: None where the server has no API keys; `requests`: counts them, if given.

        `cors`: None where pages of other origins have no access.
        `streams`: None where no request becomes a stream.
        `server_timing`: replies have the times of their stages. `tracer`: records a span of each request.
        """
        self.router = router
        self.streams = streams
        self.num_running = 0
        self.num_connections = 0  # counted by the connections
        self._readiness = readiness
        self._limits = limits
        self._budget = limits.budget
        self._guard = guard
        self._codings = codings
        self._large = min(codings.min_bytes, COUNTED_REPLY)
        self._cors = cors
        self._server_timing = server_timing
        self._is_traced = tracer is not None
        self._identify = Identities().identify
        records = Records(requests, access_log, tracer)
        self._start_span, self._end = records.start_span, records.end

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is answered any more."""
        return self._readiness.is_draining

    def start_draining(self) -> None:
        """Refuse new requests from now on; those that run continue."""
        self._readiness.is_draining = True

    @property
    def num_streams(self) -> int:
        """Streams that are open."""
        return 0 if self.streams is None else self.streams.num_open

    def drain_streams(self) -> None:
        """Close every stream, once the frames that were read from it are answered."""
        if self.streams is not None:
            self.streams.drain()

    def admit_stream(self, request: Request) -> Accepted:
        """Whether a request to `/stream` becomes a stream: what the response says then.

        Raises what `StreamSockets.admit` does, Draining, or InvalidField for its query.
        """
        self._identify(request)
        if self._readiness.is_draining or self.streams is None:
            raise Draining("the server is stopping")
        check_query(request.query)
        accepted = self.streams.admit(request)
        accepted.headers.append((b"x-request-id", request.id))
        return accepted

    async def answer(self, request: Request, route: Route, read_part: ReadPart | None = None) -> Response:
        """Answer a request. Its task is to be cancelled, with `DISCONNECT`, when the client disconnects.

        `read_part`: where the body is still to be read; None: `request.body` is whole.
        Raises ClientDisconnected if `read_part` does. A task that is cancelled otherwise, at a forced stop,
        answers with `interrupt`.
        """
        started = time.perf_counter()
        self._identify(request)
        if self._is_traced and not route.answers_while_draining:
            self._start_span(request)
        traced = None if request.trace is None else trace.current.set(request.trace)
        self.num_running += 1
        try:
            response = await self._respond(request, route, read_part)
            if len(response.body) >= self._large and request.method != "HEAD":
                await self._count_large(request, response)
        except (asyncio.CancelledError, ClientDisconnected) as error:
            self._end_unanswered(started, request, route, error)
            raise
        finally:
            self.num_running -= 1
            if traced is not None:
                trace.current.reset(traced)
        self._finish(request, response)
        self._end(started, request, route.name, response.status, response.log, response.stages)
        return response

    def refuse(
        self,
        error: CellgateError,
        method: str = "",
        path: str = "",
        headers: Headers | None = None,
        route: str = OTHER,
    ) -> Response:
        """The response, logged too, to bytes that are not a request, or to a request that is not answered.

        `headers`: of the request, as far as they were read.
        """
        request = Request(method, path, headers or [])
        self._identify(request)
        response = render(error, dialect_of(self.router.local(path)))
        self._finish(request, response)
        if CLOSE not in response.headers:
            response.headers.append(CLOSE)
        self._end(time.perf_counter(), request, route, response.status, response.log)
        return response

    def hold(self, num_bytes: int) -> None:
        """Count memory that connections use, or no longer use if it is negative."""
        self._budget.hold(num_bytes)

    def release(self, response: Response) -> None:
        """A response whose memory is counted (`held`) has been written, or will not be."""
        self._budget.give_back(response.held)
        response.held = 0

    def interrupt(self, request: Request) -> Response:
        """The response to a request whose task was cancelled although its client is still connected."""
        error = Draining("the server stopped before it had an answer")
        route = self.router.find(request.method, request.path).name
        return self.refuse(error, request.method, request.path, request.headers, request.route or route)

    def failure(self, request: Request, route: Route) -> Response:
        """The response to a request that failed in the gate itself: not logged, for that may have failed."""
        response = render(InternalError(), route.dialect)
        self._identify(request)
        self._finish(request, response)
        return response

    async def _respond(self, request: Request, route: Route, read_part: ReadPart | None) -> Response:
        """Whatever happens, a response; or ClientDisconnected."""
        budget, held = self._budget, 0  # bytes
        try:
            if self._cors is not None and (answer := self._cors.preflight(request)) is not None:
                return answer
            self._admit(request, route, is_read=read_part is None)
            if route.reads_body:
                if read_part is not None:
                    request.body = await self._limits.read(read_part)
                else:
                    self._limits.check_size(len(request.body))
                needed = len(request.body) * BYTES_PER_BODY_BYTE
                if budget.used + needed > budget.max_bytes:  # `take`, in every request, so without a call
                    budget.check(needed)
                budget.used += needed
                held = needed
                if request.coding:
                    held += await self._decode(request)
            if request.accept and route.events is not None and wants_events(request.accept):
                return await respond(route.events, request, route.name, self._finish, self._readiness)
            return await route.handler(request)
        except CellgateError as error:
            return render(error, route.dialect)
        except ClientDisconnected:
            raise
        except Exception:
            logger.exception("request %s failed", request.id.decode())
            return render(InternalError(), route.dialect)
        finally:
            budget.used -= held

    async def _count_large(self, request: Request, response: Response) -> None:
        """Count the memory of a large response, until `release`; compress it if its client accepts that."""
        response.held = len(response.body)
        self._budget.hold(response.held)
        try:
            if response.held >= self._codings.min_bytes:
                await self._codings.encode(request.headers, response)
        except BaseException:
            self.release(response)
            raise

    async def _decode(self, request: Request) -> int:
        """Undo the coding of the body; the further bytes of the budget that it now takes.

        Raises UnsupportedEncoding, BodyTooLarge, BadHeader or MemoryExhausted.
        """
        size = len(request.body)
        request.body = await self._codings.decode(request.body, request.coding, self._limits)
        further = max(0, len(request.body) - size) * BYTES_PER_BODY_BYTE
        coded = (b"content-encoding", b"content-length")
        request.headers = [header for header in request.headers if header[0] not in coded]
        return further

    def _admit(self, request: Request, route: Route, *, is_read: bool) -> None:
        """Set the tenant of a request that may continue.

        `is_read`: whether its body is there, so that it has its own size instead of a declared one.

        Raises Draining, Unauthorized, RateLimited, UnsupportedMediaType, BadHeader, BodyTooLarge or
        MemoryExhausted.
        """
        if self._readiness.is_draining and not route.answers_while_draining:
            raise Draining("the server is stopping")
        if self._guard is not None and route.needs_key:
            request.tenant = self._guard.admit(request.headers)
        if not route.reads_body:
            return
        for name, value in request.headers:
            if name not in BODY_HEADERS:
                continue
            if name == b"content-type":
                route.check_type(value)
            elif name == b"content-encoding" and (coding := value.strip().lower()) != b"identity":
                request.coding = b"%b, %b" % (request.coding, coding) if request.coding else coding
            elif name == b"content-length" and not is_read:
                self._limits.check_declared(value)
            elif name == b"idempotency-key":
                request.idempotency_key = value
            elif name == b"accept" and EVENT_STREAM in value.lower():
                request.accept = b"%b,%b" % (request.accept, value) if request.accept else value

    def _finish(self, request: Request, response: Response) -> None:
        """Add what every response has."""
        headers = response.headers
        headers.append((b"x-request-id", request.id))
        if self._cors is not None:
            self._cors.mark(request.headers, headers)
        if self._server_timing and response.stages is not None:
            headers.append((b"server-timing", response.stages.header()))
        if self._readiness.is_draining and CLOSE not in headers:
            headers.append(CLOSE)
        if request.method == "HEAD":
            response.body = b""

    def _end_unanswered(self, started: float, request: Request, route: Route, error: BaseException) -> None:
        """Count and log a request whose client has disconnected, unless `refuse` or `interrupt` does."""
        answer: type[CellgateError] | None = None
        if isinstance(error, ClientDisconnected):
            answer = BadHttp if error.is_refused else None
        elif self.is_draining and DISCONNECT not in error.args:
            answer = Draining
        if answer is None:
            self._end(started, request, route.name, *DISCONNECTED)
        elif request.span is not None:
            request.span.end(route.name, answer.status, {"code": answer.code})
