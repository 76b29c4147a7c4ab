"""The only place where the parts meet: they are built and started in one order, and stopped in the reverse.

start:  store → models (each tried on its example) → use cases → gate → background tasks → ready
stop:   background tasks → access log → models → store    (the server has drained the gate before)
"""

import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from service.background import repeat, start
from service.http import AsgiAdapter, BodyLimits, Codings, Cors, Gate, Guard, Readiness, Tenants
from service.memory import MemoryBudget, Trimmer, malloc_trim
from service.metrics import Metrics, Requests, SessionCounts, Turns
from service.models import create_loader, serve_models
from service.parts import (
    create_clock,
    create_reply_store,
    create_store,
    history_limits_of,
    memory_budget_of,
    metrics_of,
    open_access_log_of,
    open_tracer_of,
    rates_of,
    state_tokens_of,
    tenants_of,
)
from service.predict import Aside, Idempotency, Shadows
from service.repository import Repository
from service.routes import Backends, create_router, create_streams
from service.sampler import LOOK_EVERY_S, SAMPLE_EVERY_S, Sampler
from service.sessions import Sessions
from service.sessions.store import Store
from service.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
TRIM_EVERY_S = 1.0
CHECK_STREAMS_EVERY_S = 1.0
# How long a thread runs while others wait: of Python's 5 ms, a step that waits several times has 20.
SWITCH_S = 0.001
# A request creates some hundred objects, and hardly ever a cycle of them.
GC_THRESHOLD = (20_000, 20, 100)


@dataclass(frozen=True, slots=True)
class Application:
    """A running service, to be put behind a server."""

    gate: Gate
    asgi: AsgiAdapter
    turns: Turns


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    on_failure: Callable[[], None] | None = None,
    shared: Path | None = None,
    store: Store | None = None,
) -> AsyncIterator[Application]:
    """Build and start the parts on the running event loop; stop them at the end of the block.

    `on_failure`: called when a model's inference loop has failed and the process must be replaced.
    `shared`: a folder for all workers of a server; None: there is no other worker.
    `store`: in the place of the one that the settings name. Raises StartupError.
    """
    async with contextlib.AsyncExitStack() as stack:
        metrics = metrics_of(shared)
        stack.callback(metrics.registry.close)
        tenants = tenants_of(settings)
        clock = create_clock(settings)
        sessions = await _open_sessions(stack, settings, store, tenants, metrics, clock)
        loader = create_loader(stack, settings, shared, metrics, on_failure)
        repository, steering = await serve_models(stack, settings, shared, sessions, loader)
        readiness = Readiness(repository, sessions.store)
        budget = memory_budget_of(settings)
        turns = _turns(stack)
        sampler = Sampler(
            metrics,
            repository=repository,
            sessions=sessions,
            readiness=readiness,
            budget=budget,
            turns=turns,
            num_policy_faults=lambda: steering.num_faults,
        )
        backends = Backends(
            repository=repository,
            steering=steering,
            sessions=sessions,
            tenants=tenants,
            readiness=readiness,
            budget=budget,
            sampler=sampler,
            aside=_aside(stack),
            shadows=_shadows(stack, repository, sessions, metrics),
            idempotency=_idempotency(stack, settings, clock),
            tokens=state_tokens_of(settings, tenants),
        )
        gate = _gate(stack, settings, backends, shared)
        _start_upkeep(stack, sampler, budget)
        logger.info("ready: models %d, sessions in %s", len(list(repository)), settings.store)
        yield Application(gate, AsgiAdapter(gate), turns)


async def _open_sessions(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    store: Store | None,
    tenants: Tenants,
    metrics: Metrics,
    clock: Callable[[], float],
) -> Sessions:
    """Open the store, and end expired sessions from then on. Raises StartupError."""
    store = store or create_store(settings)
    await store.open()
    stack.push_async_callback(store.close)
    sessions = Sessions(
        store,
        ttl_s=settings.session_ttl_s,
        clock=clock,
        quotas=tenants.quotas,
        counts=SessionCounts(metrics),
        history_limits=history_limits_of(settings),
    )
    repeat(stack, SWEEP_EVERY_S, sessions.sweep, "expired sessions are not removed")
    return sessions


def _idempotency(
    stack: contextlib.AsyncExitStack, settings: Settings, clock: Callable[[], float]
) -> Idempotency:
    idempotency = Idempotency(
        create_reply_store(settings),
        ttl_s=settings.idempotency_ttl_s,
        timeout_s=settings.request_timeout_s,
        clock=clock,
    )
    stack.push_async_callback(idempotency.close)
    repeat(stack, SWEEP_EVERY_S, idempotency.sweep, "expired replies are not removed")
    return idempotency


def _turns(stack: contextlib.AsyncExitStack) -> Turns:
    turns = Turns()
    start(stack, turns.watch())
    return turns


def _aside(stack: contextlib.AsyncExitStack) -> Aside:
    aside = Aside()
    stack.callback(aside.stop)
    return aside


def _shadows(
    stack: contextlib.AsyncExitStack, repository: Repository, sessions: Sessions, metrics: Metrics
) -> Shadows:
    shadows = Shadows(repository, sessions, metrics)
    start(stack, shadows.run())
    return shadows


def _gate(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    backends: Backends,
    shared: Path | None,
) -> Gate:
    """What all requests pass, on their way to the routes."""
    tenants = backends.tenants
    access_log = open_access_log_of(stack, settings)
    guard = Guard(tenants, rates_of(tenants, shared)) if tenants.by_name else None
    cors = Cors(settings.allowed_origins) if settings.allowed_origins else None
    log = None if access_log is None else access_log.write
    streams = create_streams(settings, backends, guard, cors, log)
    repeat(stack, CHECK_STREAMS_EVERY_S, streams.check, "streams are not checked")
    gate = Gate(
        create_router(settings, backends),
        backends.readiness,
        BodyLimits(settings.max_body_bytes, settings.body_timeout_s, backends.budget),
        guard=guard,
        access_log=log,
        requests=Requests(backends.sampler.metrics),
        codings=Codings(backends.aside, min_bytes=settings.compress_min_bytes),
        cors=cors,
        server_timing=settings.server_timing,
        tracer=open_tracer_of(stack, settings),
        streams=streams,
    )
    backends.sampler.watch(gate, access_log)
    return gate


def _start_upkeep(stack: contextlib.AsyncExitStack, sampler: Sampler, budget: MemoryBudget) -> None:
    """What is measured and handed back again and again."""
    repeat(stack, SAMPLE_EVERY_S, sampler.sample, "metrics are not counted")
    repeat(stack, LOOK_EVERY_S, sampler.look, "the session store is not measured")
    trimmer = Trimmer(budget, trim=malloc_trim())
    repeat(stack, TRIM_EVERY_S, trimmer.check, "memory is not handed back")
    _tune_interpreter()


def _tune_interpreter() -> None:
    """What exists now stays: the collector need not examine it again, or run so often. Threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    sys.setswitchinterval(SWITCH_S)
