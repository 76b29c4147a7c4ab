"""Creates single parts from the settings, not yet started or opened. `app` puts them together."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from service.engine import Batching, WorkerSlot, choose_provider
from service.errors import StartupError
from service.http import Rates, Tenants
from service.logs import AccessLog, open_access_log
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget
from service.metrics import Metrics, Registry, Tracer
from service.repository import Hardware, RetainedCopies, Trials, Tried
from service.sessions import MIN_SECRET_BYTES, HistoryLimits, StateTokens, SteadyClock
from service.sessions.store import Limits, Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore
from service.settings import Settings

logger = logging.getLogger(__name__)

TRIED_FILE = "tried-models"  # the models that have been loaded before
RETAINED_FOLDER = "retained-models"
REPLIES_FOLDER = "replies"
RATES_FILE = "rates"  # requests of tenants, counted by all workers


def create_store(settings: Settings) -> Store:
    """The session store that the settings name, not yet opened. Raises StartupError."""
    limits = Limits(
        max_sessions=settings.max_sessions,
        max_bytes=settings.max_session_bytes,
        min_idle_ms=round(settings.session_min_idle_s * 1000),
        max_tombstones=settings.max_tombstones,
    )
    return _create_store(settings, limits, settings.sessions_dir, "cellgate")


def history_limits_of(settings: Settings) -> HistoryLimits:
    """The bounds on the earlier states of one session."""
    return HistoryLimits(settings.max_checkpoints, settings.max_history_bytes)


def create_reply_store(settings: Settings) -> Store:
    """The store of replies to requests with an Idempotency-Key, of the same kind. Raises StartupError."""
    limits = Limits(
        max_sessions=settings.max_idempotency_keys,
        max_bytes=settings.max_idempotency_bytes,
        min_idle_ms=0,  # the oldest reply makes room
        max_tombstones=0,
    )
    return _create_store(settings, limits, settings.sessions_dir / REPLIES_FOLDER, "cellgate-replies")


def _create_store(settings: Settings, limits: Limits, folder: Path, name: str) -> Store:
    """`folder`: of LMDB; `name`: what keys in Redis begin with."""
    if settings.store == "memory":
        return MemoryStore(limits)
    if settings.store == "redis":
        return _create_redis_store(settings, limits, name)
    return LmdbStore(folder, limits, sync_to_disk=settings.session_sync == "disk")


def create_clock(settings: Settings) -> SteadyClock:
    """The clock of sessions; all processes on one LMDB directory agree on it. Raises StartupError."""
    return SteadyClock(settings.sessions_dir if settings.store == "lmdb" else None)


def tenants_of(settings: Settings) -> Tenants:
    """The tenants and their API keys. Raises StartupError."""
    return Tenants.load(settings.keys_file, settings.keys.get_secret_value())


def state_tokens_of(settings: Settings, tenants: Tenants) -> StateTokens:
    """Writes and reads the states that clients keep. Raises StartupError for a secret that is too short."""
    secrets: list[str] = []
    if settings.state_secret_file is not None:
        try:
            secrets += settings.state_secret_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"state_secret_file {settings.state_secret_file}: {error}") from error
    secrets += settings.state_secret.get_secret_value().split(",")
    found = [secret.strip().encode() for secret in secrets if secret.strip()]
    if any(len(secret) < MIN_SECRET_BYTES for secret in found):
        raise StartupError(f"state_secret: each secret needs at least {MIN_SECRET_BYTES} characters")
    return StateTokens(found, needs_secret=bool(tenants.by_name))


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


def _create_redis_store(settings: Settings, limits: Limits, name: str) -> Store:
    try:
        from service.sessions.store.redis import RedisStore  # its client is an extra
    except ImportError as error:
        raise StartupError("the redis client is not installed: pip install redis") from error
    return RedisStore(
        settings.redis_url.get_secret_value(),
        limits,
        timeout_s=settings.redis_timeout_s,
        shards=settings.redis_shards,
        allow_eviction=settings.redis_allow_eviction,
        name=name,
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


def memory_budget_of(settings: Settings) -> MemoryBudget:
    """The memory of requests in progress."""
    most = settings.request_memory // BYTES_PER_BODY_BYTE
    if most < settings.max_body_bytes:
        logger.warning("bodies have at most %d bytes: requests may use %d", most, settings.request_memory)
    return MemoryBudget(settings.request_memory)


def open_access_log_of(stack: contextlib.AsyncExitStack, settings: Settings) -> AccessLog | None:
    """Where the gate writes its lines, if anywhere; they are flushed at the stop."""
    if not settings.access_log:
        return None
    access_log = open_access_log(settings)
    stack.callback(access_log.close)
    return access_log


def open_tracer_of(stack: contextlib.AsyncExitStack, settings: Settings) -> Tracer | None:
    """What records spans, if they go anywhere; the last ones are sent at the stop. Raises StartupError."""
    if not settings.otel_endpoint and not _names_collector(os.environ):
        return None
    try:
        from service.metrics import otel  # its libraries are an extra
    except ImportError as error:
        if settings.otel_endpoint:
            raise StartupError(
                "the OpenTelemetry libraries are not installed: pip install 'cellgate[otel]'"
            ) from error
        logger.warning(
            "no spans, although a variable OTEL_* turns them on: the extra otel is not installed: %s", error
        )
        return None
    tracer = otel.create(settings.otel_endpoint)
    stack.push_async_callback(asyncio.to_thread, tracer.close)
    return tracer


def _names_collector(environ: Mapping[str, str]) -> bool:
    """Whether the variables of OpenTelemetry's specification ask for spans."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return any(environ.get(name) for name in names)


def metrics_of(shared: Path | None) -> Metrics:
    """The metrics, counted by all workers together if they share a folder."""
    if shared is not None:
        try:
            return Metrics(Registry(shared))
        except OSError as error:  # a server can do without
            logger.warning("each worker shows its own metrics: %s", error)
    return Metrics(Registry())
