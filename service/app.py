"""The only place where the parts meet: they are built and started in one order, and stopped in the reverse.

start:  store → models (each tried on its example) → use cases → gate → background tasks → ready
stop:   background tasks → access log → models → store    (the server has drained the gate before)
"""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from service import api
from service.background import repeat, start
from service.codec.stored import regenerate
from service.http import (
    ApplicationHandler,
    AsgiAdapter,
    BodyLimits,
    Codings,
    Cors,
    Gate,
    Guard,
    Readiness,
    Router,
    Tenants,
)
from service.memory import Trimmer, malloc_trim
from service.metrics import Loads, Metrics, Requests, Scrape, SessionCounts, Turns
from service.parts import (
    batching_of,
    create_clock,
    create_reply_store,
    create_store,
    hardware_of,
    memory_budget_of,
    metrics_of,
    open_access_log_of,
    open_tracer_of,
    rates_of,
    retained_copies_of,
    tenants_of,
    trials_of,
)
from service.predict import Aside, Generator, Idempotency, OpenInference, Predictor, Shadows
from service.repository import (
    Loader,
    Policies,
    Reloader,
    Repository,
    Retirement,
    Rollout,
    SafeLoader,
    Steering,
    Stopping,
    scan,
)
from service.sampler import LOOK_EVERY_S, SAMPLE_EVERY_S, Sampler
from service.sessions import Resources, Sessions
from service.sessions.store import Store
from service.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
TRIM_EVERY_S = 1.0
ROLLOUT_EVERY_S = 0.2
JOIN_EVERY_S, JOIN_TRIES = 0.02, 500
MAX_RETIRE_EVERY_S = 60.0
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
    `store`: in the place of the one that the settings name.
    Raises StartupError.
    """
    async with contextlib.AsyncExitStack() as stack:
        metrics = metrics_of(shared)
        stack.callback(metrics.registry.close)
        tenants = tenants_of(settings)
        clock = create_clock(settings)
        sessions = await _open_sessions(stack, settings, store, tenants, metrics, clock)
        loader = _loader(stack, settings, shared, metrics, on_failure)
        repository, steering = await _serve_models(stack, settings, shared, sessions, loader)
        readiness = Readiness(repository, sessions.store)
        budget = memory_budget_of(settings)
        access_log = open_access_log_of(stack, settings)
        aside = Aside()
        stack.callback(aside.stop)
        shadows = Shadows(repository, sessions, metrics)
        start(stack, shadows.run())
        turns = Turns()
        start(stack, turns.watch())
        sampler = Sampler(
            metrics, repository=repository, sessions=sessions, readiness=readiness, budget=budget, turns=turns
        )
        gate = Gate(
            _router(
                settings,
                repository,
                sessions,
                readiness,
                sampler,
                aside,
                shadows,
                steering,
                tenants,
                _idempotency(stack, settings, clock),
            ),
            readiness,
            BodyLimits(settings.max_body_bytes, settings.body_timeout_s, budget),
            guard=Guard(tenants, rates_of(tenants, shared)) if tenants.by_name else None,
            access_log=None if access_log is None else access_log.write,
            requests=Requests(metrics),
            codings=Codings(aside, min_bytes=settings.compress_min_bytes),
            cors=Cors(settings.allowed_origins) if settings.allowed_origins else None,
            server_timing=settings.server_timing,
            tracer=open_tracer_of(stack, settings),
        )
        sampler.watch(gate, access_log)
        repeat(stack, SAMPLE_EVERY_S, sampler.sample, "metrics are not counted")
        repeat(stack, LOOK_EVERY_S, sampler.look, "the session store is not measured")
        trimmer = Trimmer(budget, trim=malloc_trim())
        repeat(stack, TRIM_EVERY_S, trimmer.check, "memory is not handed back")
        _tune_interpreter()
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


def _loader(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    shared: Path | None,
    metrics: Metrics,
    on_failure: Callable[[], None] | None,
) -> SafeLoader:
    loader = SafeLoader(
        Loader(batching_of(settings), hardware_of(settings, shared), on_failure=on_failure, metrics=metrics),
        trials_of(settings, shared),
        retained_copies_of(settings),
        loads=Loads(metrics),
    )
    stack.callback(loader.trials.close)
    return loader


async def _serve_models(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    shared: Path | None,
    sessions: Sessions,
    loader: SafeLoader,
) -> tuple[Repository, Steering]:
    """Load all models, and follow their directory from then on. Raises StartupError."""
    policies = Policies(settings.models_dir)
    policies.read()
    unloaded = policies.unloaded()
    on_disk = scan(settings.models_dir, unloaded)  # before they are loaded, so that a later change is noticed
    loader.try_all(list(on_disk))
    repository = Repository.load(settings.models_dir, loader, skips_faulty=True, unloaded=unloaded)
    stack.push_async_callback(repository.stop)
    stop = Stopping(grace_s=settings.request_timeout_s)
    retirement = Retirement(
        repository,
        loader,
        loader.copies,
        sessions.find_on,
        retire_s=settings.session_ttl_s,
        stop=stop,
        unloaded=policies.unloaded,
    )
    await retirement.load_retained()
    reloader = Reloader(
        repository,
        settings.models_dir,
        loader,
        loaded=on_disk,
        stop=stop,
        policies=policies,
        every_s=settings.models_poll_s,
    )
    follow_every_s = min(settings.models_poll_s or ROLLOUT_EVERY_S, ROLLOUT_EVERY_S)
    repeat(stack, follow_every_s, reloader.follow, "the models directory is not followed")
    retire_every_s = min(settings.session_ttl_s / 4, MAX_RETIRE_EVERY_S)
    repeat(stack, retire_every_s, retirement.check, "retired versions are not unloaded")
    rollout = Rollout(repository, policies, shared or Path(stack.enter_context(TemporaryDirectory())))
    await _join(rollout)
    repeat(stack, ROLLOUT_EVERY_S, rollout.follow, "default versions are not agreed on")
    steering = Steering(
        settings.models_dir, repository, policies, rollout, timeout_s=settings.request_timeout_s
    )
    return repository, steering


async def _join(rollout: Rollout) -> None:
    """Follow what the other workers have agreed on, before the first request; one of them may be writing."""
    for _ in range(JOIN_TRIES):
        if await rollout.follow():
            return
        await asyncio.sleep(JOIN_EVERY_S)
    logger.warning("the workers' agreement on versions is locked by a worker that does not respond")


def _router(
    settings: Settings,
    repository: Repository,
    sessions: Sessions,
    readiness: Readiness,
    sampler: Sampler,
    aside: Aside,
    shadows: Shadows,
    steering: Steering,
    tenants: Tenants,
    idempotency: Idempotency,
) -> Router:
    """The use cases behind the inference routes, and the documented application behind all others."""
    predictor = Predictor(
        repository,
        sessions,
        max_sequences=settings.max_sequences,
        max_steps=settings.max_steps,
        timeout_s=settings.request_timeout_s,
        clock=asyncio.get_running_loop().time,
        max_reply_bytes=settings.max_reply_bytes,
        aside=aside,
        shadows=shadows,
    )
    documented = api.build(
        repository=repository,
        resources=Resources(
            sessions,
            repository.get,
            max_ttl_s=settings.session_max_ttl_s,
            take_reply=regenerate,
            canary_for=repository.canary_for,
        ),
        readiness=readiness,
        steering=steering,
        is_admin=tenants.is_admin if tenants.by_name else lambda _: settings.admin_access == "open",
        max_sequences=settings.max_sequences,
        max_reply_bytes=settings.max_reply_bytes,
        scrape=Scrape(sampler.metrics, sampler.sample),
    )
    open_inference = OpenInference(predictor, always_restarts=settings.v2_restart == "always")
    return Router(
        predictor,
        Generator(predictor),
        open_inference,
        ApplicationHandler(documented, root_path=settings.root_path, reads_prefix=settings.forwarded_prefix),
        metrics_need_key=settings.metrics_access == "key",
        root_path=settings.root_path,
        idempotency=idempotency,
    )


def _tune_interpreter() -> None:
    """What exists now stays: the collector need not examine it again, or run so often. Threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    sys.setswitchinterval(SWITCH_S)
