"""A gate around handlers of a few lines, for the tests of what carries bytes to it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from service.http.body import BodyLimits
from service.http.codings import Codings
from service.http.cors import Cors
from service.http.events import EventHandler
from service.http.fastapi_bridge import ApplicationHandler, Receive, Scope, Send
from service.http.gate import Gate
from service.http.keys import Guard
from service.http.readiness import Readiness
from service.http.router import Handler, Router
from service.memory import MemoryBudget
from service.metrics import Requests, Tracer
from service.predict import Aside, Reply
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore

Answer = Callable[[bytes], Awaitable[Reply]]


@dataclass
class FakePredictor:
    """Answers a body with what `answer` makes of it; remembers the tenants."""

    answer: Answer
    tenants: list[str] = field(default_factory=list)

    async def predict(self, body: bytes, *, tenant: str = "") -> Reply:
        self.tenants.append(tenant)
        return await self.answer(body)

    generate = predict

    async def infer(
        self, name: str, version: str | None, headers: dict[bytes, bytes], body: bytes, tenant: str
    ) -> Reply:
        self.tenants.append(tenant)
        reply = await self.answer(body)
        return Reply(reply.body, name, version or "", json_length=len(headers) and None)


@dataclass
class FakeRepository:
    is_alive: bool = True


async def echo(body: bytes) -> Reply:
    await asyncio.sleep(0)
    return Reply(body, "m", "1", 1, 7)


async def no_content(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": b""})


def readiness(*, is_alive: bool = True, store: MemoryStore | None = None) -> Readiness:
    return Readiness(cast(Any, FakeRepository(is_alive)), store or MemoryStore(Limits()))


def make_gate(
    answer: Answer = echo,
    application: Handler | None = None,
    *,
    guard: Guard | None = None,
    access_log: Callable[[dict[str, Any]], None] | None = None,
    is_draining: bool = False,
    max_body_bytes: int = 100,
    body_timeout_s: float = 0.05,
    budget: MemoryBudget | None = None,
    server_timing: bool = True,
    tracer: Tracer | None = None,
    requests: Requests | None = None,
    min_encoded: int = 0,
    origins: str = "",
    events: EventHandler | None = None,
) -> Gate:
    predictor = cast(Any, FakePredictor(answer))
    router = Router(predictor, predictor, predictor, application or ApplicationHandler(no_content))
    if events is not None:
        router._by_path["/predict"] = replace(router._by_path["/predict"], events=events)
    gate = Gate(
        router,
        readiness(),
        BodyLimits(max_body_bytes, body_timeout_s, budget or MemoryBudget(1 << 40)),
        guard=guard,
        access_log=access_log,
        server_timing=server_timing,
        tracer=tracer,
        requests=requests,
        codings=Codings(Aside(), min_bytes=min_encoded),
        cors=Cors(origins.split()) if origins else None,
    )
    if is_draining:
        gate.start_draining()
    return gate
