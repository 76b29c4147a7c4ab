"""The use cases behind the inference routes and streams, and the documented application behind all others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from service import api
from service.codec.stored import regenerate
from service.http import (
    ApplicationHandler,
    Cors,
    Fields,
    Guard,
    Readiness,
    Router,
    StreamBounds,
    StreamSockets,
    Tenants,
)
from service.memory import MemoryBudget
from service.metrics import Scrape
from service.predict import (
    Aside,
    Beginnings,
    Forecaster,
    Generator,
    Idempotency,
    OpenInference,
    Predictor,
    Shadows,
    Streams,
)
from service.repository import Repository, Steering
from service.sampler import Sampler
from service.sessions import Resources, Sessions, StateTokens
from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The started parts that requests are answered from."""

    repository: Repository
    steering: Steering
    sessions: Sessions
    tenants: Tenants
    readiness: Readiness
    budget: MemoryBudget
    sampler: Sampler
    aside: Aside
    shadows: Shadows
    idempotency: Idempotency
    tokens: StateTokens


def create_router(settings: Settings, backends: Backends) -> Router:
    """The routes of a server. To be called on its event loop, whose clock deadlines are compared with."""
    predictor = _predictor(settings, backends)
    return Router(
        predictor,
        Generator(predictor),
        OpenInference(predictor, always_restarts=settings.v2_restart == "always"),
        _documented(settings, backends),
        metrics_need_key=settings.metrics_access == "key",
        root_path=settings.root_path,
        idempotency=backends.idempotency,
        forecaster=Forecaster(
            predictor,
            backends.sessions,
            timeout_s=settings.request_timeout_s,
            clock=asyncio.get_running_loop().time,
        ),
    )


def create_streams(
    settings: Settings,
    backends: Backends,
    guard: Guard | None,
    cors: Cors | None,
    access_log: Callable[[Fields], None] | None,
) -> StreamSockets:
    """The streams of this worker, and the use case behind them."""
    streams = Streams(
        backends.repository,
        backends.sessions,
        backends.aside,
        Beginnings(backends.repository, backends.tokens, backends.aside),
        backends.shadows,
        backends.budget,
        max_in_flight=settings.max_frames_in_flight,
        max_steps=settings.max_steps,
        max_reply_bytes=settings.max_reply_bytes,
        timeout_s=settings.request_timeout_s,
        clock=asyncio.get_running_loop().time,
    )
    bounds = StreamBounds(
        settings.max_stream_channels,
        settings.max_stream_frame_bytes,
        settings.stream_idle_s,
        settings.stream_ping_s,
    )
    return StreamSockets(
        streams,
        bounds,
        max_streams=settings.max_streams,
        compresses=settings.stream_compression,
        guard=guard,
        cors=cors,
        access_log=access_log,
    )


def _predictor(settings: Settings, backends: Backends) -> Predictor:
    return Predictor(
        backends.repository,
        backends.sessions,
        max_sequences=settings.max_sequences,
        max_steps=settings.max_steps,
        timeout_s=settings.request_timeout_s,
        clock=asyncio.get_running_loop().time,
        max_reply_bytes=settings.max_reply_bytes,
        memory=backends.budget,
        aside=backends.aside,
        shadows=backends.shadows,
        tokens=backends.tokens,
    )


def _documented(settings: Settings, backends: Backends) -> ApplicationHandler:
    repository, tenants, sampler = backends.repository, backends.tenants, backends.sampler
    resources = Resources(
        backends.sessions,
        repository.get,
        max_ttl_s=settings.session_max_ttl_s,
        take_reply=regenerate,
        canary_for=repository.canary_for,
    )
    application = api.build(
        repository=repository,
        resources=resources,
        readiness=backends.readiness,
        steering=backends.steering,
        is_admin=tenants.is_admin if tenants.by_name else lambda _: settings.admin_access == "open",
        max_sequences=settings.max_sequences,
        max_reply_bytes=settings.max_reply_bytes,
        serves_ui=settings.serves_ui,
        website=api.installed_guide() if settings.guide else None,
        scrape=Scrape(sampler.metrics, sampler.sample),
    )
    return ApplicationHandler(
        application, root_path=settings.root_path, reads_prefix=settings.forwarded_prefix
    )
