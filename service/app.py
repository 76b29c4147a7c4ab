"""The only place where the parts meet. They start in one written order and stop in the reverse.

start:  store → models (each on its example) → sweeper, reloader → ready
stop:   not ready, new requests 503 → requests in flight finish → sweeper, reloader → models → store
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from service.api.application import build
from service.engine.cores import Seat
from service.errors import CellgateError, StartupError
from service.http.gate import Front, Receive, Scope, Send
from service.http.keys import Guard, Rates, Tenants
from service.logs import AccessLog, is_text
from service.predict.generate import Generator
from service.predict.infer import OpenInference
from service.predict.predictor import Predictor, Reply
from service.repository.rehearsal import Batching
from service.repository.reload import Reloader, Signature, look
from service.repository.repository import Hardware, Repository, prepare
from service.sessions.clock import SteadyClock
from service.sessions.resources import Resources
from service.sessions.rules import Sessions
from service.sessions.store import Limits, Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore
from service.settings import Settings

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = FOLLOW_EVERY_S = 1.0
DRAIN_TICK_S = 0.05
RATES_FILE = "rates"  # what tenants asked for, for all workers
GC_THRESHOLD = (20_000, 20, 100)  # a request makes some hundred objects, and hardly ever a cycle


def create_store(settings: Settings) -> Store:
    """The store the settings name, not yet opened."""
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
    """What sessions live by; all processes on one LMDB directory agree."""
    return SteadyClock(settings.sessions_dir if settings.store == "lmdb" else None)


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
    )


def tenants_of(settings: Settings) -> Tenants:
    """Who may ask. Raises StartupError."""
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
    )


def _hardware(settings: Settings, shared: Path | None) -> Hardware:
    hardware = Hardware(settings.provider, settings.num_threads)
    if shared is None or not settings.shares_cores:
        return hardware
    try:
        return replace(hardware, cores=Seat(shared, settings.num_workers).cores)
    except OSError as error:  # nothing that a server could not do without
        logger.warning("cores are not shared: %s", error)
        return hardware


def _rates(tenants: Tenants, shared: Path | None) -> Rates:
    try:
        return Rates(tenants, shared / RATES_FILE if shared is not None else None)
    except OSError as error:
        logger.warning("tenants' rates are counted by each worker alone: %s", error)
        return Rates(tenants)


class Cellgate:
    """The ASGI application of one worker process."""

    def __init__(self, settings: Settings, *, shared: Path | None = None, skips_faulty: bool = False) -> None:
        """`shared`: a folder for all workers of a server; None: there is no other worker.

        `skips_faulty`: whether a model that cannot be served is passed over, or ends the start.
        """
        self.settings = settings
        self._skips_faulty = skips_faulty
        self._hardware = _hardware(settings, shared)
        self.store = create_store(settings)
        tenants = tenants_of(settings)
        self.sessions = Sessions(
            self.store, ttl_s=settings.session_ttl_s, clock=create_clock(settings), quotas=tenants.quotas
        )
        self._repository: Repository | None = None
        self._predictor: Predictor | None = None
        self._open_inference: OpenInference | None = None
        self._access_log = AccessLog(sys.stderr, as_text=is_text(settings))
        app = build(
            lambda: self.repository,
            self.store,
            lambda: self.resources,
            lambda: self.is_ready,
            max_sequences=settings.max_sequences,
        )
        self.front = Front(
            self._predict,
            app,
            generate=self._generate,
            infer=self._infer,
            admit=Guard(tenants, _rates(tenants, shared)).admit if tenants.by_name else None,
            max_body_bytes=settings.max_body_bytes,
            body_timeout_s=settings.body_timeout_s,
            access_log=self._access_log.write if settings.access_log else None,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one life of the server (ASGI lifespan protocol)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.front(scope, receive, send)

    @property
    def repository(self) -> Repository:
        """The loaded models."""
        assert self._repository is not None, "asked for before the start"
        return self._repository

    @property
    def is_ready(self) -> bool:
        """Whether `/predict` would answer."""
        return self._repository is not None and self._repository.is_alive and not self.front.is_draining

    @property
    def resources(self) -> Resources:
        """The sessions, as resources on the loaded models."""
        return Resources(self.sessions, self.repository.get, max_ttl_s=self.settings.session_max_ttl_s)

    async def _predict(self, body: bytes, tenant: str) -> Reply:
        assert self._predictor is not None, "asked for before the start"
        return await self._predictor.predict(body, tenant=tenant)

    async def _generate(self, body: bytes, tenant: str) -> Reply:
        assert self._predictor is not None, "asked for before the start"
        return await Generator(self._predictor).generate(body, tenant=tenant)

    async def _infer(
        self, name: str, version: str | None, headers: Mapping[bytes, bytes], body: bytes, tenant: str
    ) -> Reply:
        assert self._open_inference is not None, "asked for before the start"
        return await self._open_inference.infer(name, version, headers, body, tenant)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": error.detail})
            return
        await send({"type": "lifespan.shutdown.complete"})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and stop them at the end of the block. Raises StartupError."""
        settings = self.settings
        await self.store.open()
        on_disk = look(settings.models_dir)  # before they are loaded: what comes meanwhile is noticed later
        self._repository = Repository.load(
            settings.models_dir,
            batching_of(settings),
            self._hardware,
            on_death=_stop_this_process,
            skips_faulty=self._skips_faulty,
        )
        self._predictor = Predictor(
            self._repository,
            self.sessions,
            max_sequences=settings.max_sequences,
            max_steps=settings.max_steps,
            timeout_s=settings.request_timeout_s,
            clock=asyncio.get_running_loop().time,
        )
        self._open_inference = OpenInference(self._predictor, max_body_bytes=settings.max_body_bytes)
        self._drain_on_signals()
        # What is loaded now stays: the collector need not walk it at every turn, nor take turns so often.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        tasks = [asyncio.create_task(self._sweep())]
        if multiprocessing.parent_process() is not None:  # of a server of one process it is just a shell
            tasks.append(asyncio.create_task(self._follow_parent(os.getppid())))
        if settings.models_poll_s:
            tasks.append(asyncio.create_task(self._follow_models(self._repository, on_disk)))
        logger.info("ready: %d models, sessions in %s", len(list(self._repository)), settings.store)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self._repository.stop()
            await self.store.close()
            self._access_log.flush()

    async def _sweep(self) -> None:
        """Now and then: bury expired sessions. A store that is down is told of once."""
        told = ""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                await self.sessions.sweep()
                told = ""
            except CellgateError as error:
                if not told:
                    logger.warning("sweep: %s", error.detail)
                told = error.detail
            except Exception:
                logger.exception("sweep")  # a bug, but the next one may do

    async def _follow_parent(self, parent: int) -> None:
        """Stop when the parent process has been killed."""
        while os.getppid() == parent:
            await asyncio.sleep(FOLLOW_EVERY_S)
        logger.error("the parent process is gone; stopping")
        _stop_this_process()

    async def _follow_models(self, repository: Repository, served: dict[Path, Signature]) -> None:
        """Load what comes into the models directory, retire what goes."""
        settings = self.settings
        reloader = Reloader(
            repository,
            settings.models_dir,
            served=served,
            prepare=lambda folder: prepare(folder, batching_of(settings), self._hardware),
            on_death=_stop_this_process,
            retire_s=settings.session_ttl_s,
            grace_s=settings.request_timeout_s,
        )
        while True:
            await asyncio.sleep(settings.models_poll_s)
            try:
                await reloader.check()
            except OSError as error:
                logger.warning("models directory: %s", error)
            except Exception:
                logger.exception("models directory")  # a bug, but what comes next may do

    def _drain_on_signals(self) -> None:
        """Before the server closes connections: refuse what is new, let what runs finish."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            server_handler = signal.getsignal(number)
            if not callable(server_handler):  # not under uvicorn: somebody else decides when to stop
                continue

            def handle(sig: int, frame: FrameType | None, then: Callable[..., Any] = server_handler) -> None:
                if self.front.is_draining:  # asked twice: at once
                    then(sig, frame)
                    return
                self.front.is_draining = True
                loop.call_soon_threadsafe(lambda: loop.create_task(self._drain(lambda: then(sig, frame))))

            signal.signal(number, handle)

    async def _drain(self, then: Callable[[], Any]) -> None:
        logger.info("stopping: %d requests in flight", self.front.num_running)
        deadline = time.monotonic() + self.settings.drain_s
        await asyncio.sleep(DRAIN_TICK_S)
        while self.front.num_running and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_TICK_S)
        then()


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
