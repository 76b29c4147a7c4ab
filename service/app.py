"""The only place where the parts meet: they are built and started in one order, and stopped in the reverse.

start:  store → models (each tried on its example) → use cases → gate → background tasks → ready
stop:   background tasks → access log → models → store    (the server has drained the gate before)
"""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service import api
from service.codec.stored import regenerate
from service.engine import Batching, WorkerSlot, choose_provider
from service.errors import CellgateError, StartupError
from service.http import (
    BYTES_PER_BODY_BYTE,
    ApplicationHandler,
    AsgiAdapter,
    BodyLimits,
    Gate,
    Guard,
    Rates,
    Readiness,
    Router,
    Tenants,
)
from service.logs import open_access_log
from service.memory import MemoryBudget, Trimmer, malloc_trim
from service.metrics import Turns
from service.predict import Aside, Generator, OpenInference, Predictor
from service.repository import (
    Hardware,
    Loader,
    Reloader,
    Repository,
    RetainedCopies,
    Retirement,
    Rollout,
    SafeLoader,
    Stopping,
    Trials,
    Tried,
    scan,
)
from service.sessions import Resources, Sessions, SteadyClock
from service.sessions.store import Limits, Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore
from service.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
TRIM_EVERY_S = 1.0
ROLLOUT_EVERY_S = 0.2
MAX_RETIRE_EVERY_S = 60.0
# How long a thread runs while others wait: of Python's 5 ms, a step that waits several times has 20.
SWITCH_S = 0.001
TRIED_FILE = "tried-models"  # the models that have been loaded before
RETAINED_FOLDER = "retained-models"
RATES_FILE = "rates"  # requests of tenants, counted by all workers
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
        tenants = tenants_of(settings)
        store = await _open_store(stack, store or create_store(settings))
        sessions = Sessions(
            store, ttl_s=settings.session_ttl_s, clock=create_clock(settings), quotas=tenants.quotas
        )
        loader = SafeLoader(
            Loader(batching_of(settings), hardware_of(settings, shared), on_failure=on_failure),
            trials_of(settings, shared),
            retained_copies_of(settings),
        )
        stack.callback(loader.trials.close)
        on_disk = scan(settings.models_dir)  # before they are loaded, so that a later change is noticed
        loader.try_all(list(on_disk))
        repository = Repository.load(settings.models_dir, loader, skips_faulty=True)
        stack.push_async_callback(repository.stop)
        stop = Stopping(grace_s=settings.request_timeout_s)
        retirement = Retirement(
            repository, loader, loader.copies, sessions.find_on, retire_s=settings.session_ttl_s, stop=stop
        )
        await retirement.load_retained()
        readiness = Readiness(repository, store)
        budget = _memory_budget(settings)
        aside = Aside()
        stack.callback(aside.stop)
        gate = Gate(
            _router(settings, repository, sessions, readiness, aside),
            readiness,
            BodyLimits(settings.max_body_bytes, settings.body_timeout_s, budget),
            guard=Guard(tenants, rates_of(tenants, shared)) if tenants.by_name else None,
            access_log=_access_log(stack, settings),
        )
        turns = Turns()
        stack.callback(asyncio.get_running_loop().create_task(turns.watch()).cancel)
        trimmer = Trimmer(budget, trim=malloc_trim())
        _repeat(stack, TRIM_EVERY_S, trimmer.check, "memory is not handed back")
        _repeat(stack, SWEEP_EVERY_S, sessions.sweep, "expired sessions are not removed")
        if settings.models_poll_s:
            reloader = Reloader(repository, settings.models_dir, loader, loaded=on_disk, stop=stop)
            _repeat(stack, settings.models_poll_s, reloader.check, "the models directory is not followed")
        retire_every_s = min(settings.session_ttl_s / 4, MAX_RETIRE_EVERY_S)
        _repeat(stack, retire_every_s, retirement.check, "retired versions are not unloaded")
        if shared is not None:
            rollout = Rollout(repository, shared)
            await rollout.follow()
            _repeat(stack, ROLLOUT_EVERY_S, rollout.follow, "default versions are not agreed on")
        _tune_interpreter()
        logger.info("ready: models %d, sessions in %s", len(list(repository)), settings.store)
        yield Application(gate, AsgiAdapter(gate), turns)


def create_store(settings: Settings) -> Store:
    """The session store that the settings name, not yet opened. Raises StartupError."""
    limits = Limits(
        max_sessions=settings.max_sessions,
        max_bytes=settings.max_session_bytes,
        min_idle_ms=round(settings.session_min_idle_s * 1000),
        max_tombstones=settings.max_tombstones,
    )
    if settings.store == "memory":
        return MemoryStore(limits)
    if settings.store == "redis":
        return _create_redis_store(settings, limits)
    return LmdbStore(settings.sessions_dir, limits, sync_to_disk=settings.session_sync == "disk")


def create_clock(settings: Settings) -> SteadyClock:
    """The clock of sessions; all processes on one LMDB directory agree on it. Raises StartupError."""
    return SteadyClock(settings.sessions_dir if settings.store == "lmdb" else None)


def tenants_of(settings: Settings) -> Tenants:
    """The tenants and their API keys. Raises StartupError."""
    return Tenants.load(settings.keys_file, settings.keys.get_secret_value())


def batching_of(settings: Settings) -> Batching:
    """The bounds and targets under which models are batched."""
    return Batching(
        max_batch=settings.max_batch,
        chunk_steps=settings.chunk_steps,
        max_waiting=settings.max_waiting,
        max_wait_s=settings.max_wait_ms / 1000,
        target_s=settings.target_call_ms / 1000,
        inline_s=settings.inline_call_ms / 1000,
        max_call_bytes=settings.request_memory // 2,
    )


def _create_redis_store(settings: Settings, limits: Limits) -> Store:
    try:
        from service.sessions.store.redis import RedisStore  # its client is an extra
    except ImportError as error:
        raise StartupError("the redis client is not installed: pip install 'cellgate[redis]'") from error
    return RedisStore(
        settings.redis_url.get_secret_value(),
        limits,
        timeout_s=settings.redis_timeout_s,
        shards=settings.redis_shards,
        allow_eviction=settings.redis_allow_eviction,
    )


def hardware_of(settings: Settings, shared: Path | None) -> Hardware:
    """What models run on; `shared`: a folder for all workers of a server, needed to share cores."""
    slot = None
    if shared is not None and settings.shares_cores:
        try:
            slot = WorkerSlot(shared, settings.num_workers)
        except OSError as error:  # a server can do without
            logger.warning("cores are not shared: %s", error)
    return Hardware(settings.provider, settings.num_threads, slot)


def trials_of(settings: Settings, shared: Path | None) -> Trials:
    """The trials of new models. LMDB's directory keeps what has passed; else it is lost with the server."""
    kept = settings.sessions_dir if settings.store == "lmdb" else shared
    return Trials(
        batching=batching_of(settings),
        provider=settings.provider,
        threads=settings.num_threads,
        seconds=settings.model_trial_s,
        max_bytes=settings.model_trial_bytes,
        folder=shared,
        tried=Tried(kept / TRIED_FILE if kept else None, shared, provider=choose_provider(settings.provider)),
    )


def retained_copies_of(settings: Settings) -> RetainedCopies | None:
    """The copies of versions that sessions may be on. LMDB's directory has room for them."""
    folder = settings.retained_models_dir
    if folder is None and settings.store == "lmdb":
        folder = settings.sessions_dir / RETAINED_FOLDER
    return None if folder is None else RetainedCopies(folder)


def rates_of(tenants: Tenants, shared: Path | None) -> Rates:
    """The request rates of tenants, counted by all workers together if they share a folder."""
    if shared is not None:
        try:
            return Rates(tenants.rates, shared / RATES_FILE)
        except OSError as error:
            logger.warning("each worker counts the requests of tenants by itself: %s", error)
    return Rates(tenants.rates)


async def _open_store(stack: contextlib.AsyncExitStack, store: Store) -> Store:
    await store.open()
    stack.push_async_callback(store.close)
    return store


def _router(
    settings: Settings, repository: Repository, sessions: Sessions, readiness: Readiness, aside: Aside
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
    )
    documented = api.build(
        repository=repository,
        resources=Resources(
            sessions, repository.get, max_ttl_s=settings.session_max_ttl_s, take_reply=regenerate
        ),
        readiness=readiness,
        max_sequences=settings.max_sequences,
        max_reply_bytes=settings.max_reply_bytes,
    )
    open_inference = OpenInference(predictor, max_body_bytes=settings.max_body_bytes)
    return Router(predictor, Generator(predictor), open_inference, ApplicationHandler(documented))


def _memory_budget(settings: Settings) -> MemoryBudget:
    most = settings.request_memory // BYTES_PER_BODY_BYTE
    if most < settings.max_body_bytes:
        logger.warning("bodies have at most %d bytes: requests may use %d", most, settings.request_memory)
    return MemoryBudget(settings.request_memory)


def _access_log(
    stack: contextlib.AsyncExitStack, settings: Settings
) -> Callable[[dict[str, Any]], None] | None:
    """Where the gate writes its lines; they are flushed at the stop."""
    if not settings.access_log:
        return None
    access_log = open_access_log(settings)
    stack.callback(access_log.close)
    return access_log.write


def _repeat(
    stack: contextlib.AsyncExitStack, every_s: float, work: Callable[[], Awaitable[object]], failure: str
) -> None:
    """Do some work in the background, every `every_s` seconds, until the stop."""
    task = asyncio.get_running_loop().create_task(_repeated(every_s, work, failure))
    stack.callback(task.cancel)


async def _repeated(every_s: float, work: Callable[[], Awaitable[object]], failure: str) -> None:
    """A store or disk that does not answer is reported once, until it answers again."""
    reported = False
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
            reported = False
        except (CellgateError, OSError) as error:
            if not reported:
                logger.warning("%s: %s", failure, error)
            reported = True
        except Exception:
            logger.exception(failure)  # a bug; the next time may succeed


def _tune_interpreter() -> None:
    """What exists now stays: the collector need not examine it again, or run so often. Threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    sys.setswitchinterval(SWITCH_S)
