"""What the settings and the environment ask for."""

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

import pytest

from service.errors import StartupError
from service.parts import create_reply_store, create_store, open_tracer_of
from service.sessions.store import Outcome, Record, Status, Write
from service.sessions.store.record import new_revision
from service.settings import Settings
from tests.redis_server import needs_redis, redis_server

ENDPOINT = "http://127.0.0.1:9"


def has_tracer(endpoint: str = "") -> bool:
    async def work() -> bool:
        async with contextlib.AsyncExitStack() as stack:
            return open_tracer_of(stack, Settings(otel_endpoint=endpoint)) is not None

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("endpoint", "variables", "expected"),
    [
        ("", {}, False),
        (ENDPOINT, {}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}, True),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_spans_are_off_unless_asked_for(
    endpoint: str, variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert has_tracer(endpoint) is expected


def test_without_its_libraries_the_setting_stops_the_start_and_a_variable_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "service.metrics.otel", None)
    monkeypatch.delattr("service.metrics.otel", raising=False)
    with pytest.raises(StartupError, match="libraries are not installed"):
        has_tracer(ENDPOINT)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    with caplog.at_level(logging.WARNING):
        assert not has_tracer()
    assert "the extra otel is not installed" in caplog.text


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "http://", "grpc://127.0.0.1:4317"])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(StartupError, match="otel_endpoint"):
        Settings.load({"otel_endpoint": endpoint}, {})


def record(state: bytes) -> Record:
    return Record(Status.LIVE, "m", "1", bytes(8), new_revision(), 1, 1_000_000, 1_000_000, 60_000, state)


@pytest.mark.parametrize("kind", ["memory", "lmdb", pytest.param("redis", marks=needs_redis)])
def test_replies_to_keys_are_kept_apart_from_sessions_and_never_evict_one(kind: str, tmp_path: Path) -> None:
    async def work(url: str) -> None:
        settings = Settings.load(
            {"store": kind, "sessions_dir": tmp_path / "sessions", "redis_url": url,
             "max_idempotency_keys": 1, "max_sessions": 1}, {},
        )  # fmt: skip
        sessions, replies = create_store(settings), create_reply_store(settings)
        for store in (sessions, replies):
            await store.open()
        assert await sessions.commit([Write(b"\0a", None, record(b"session"))], 1_000_000) == [Outcome.DONE]
        for key in (b"\0a", b"\0b"):
            assert await replies.commit([Write(key, None, record(b"reply"))], 1_000_000) == [Outcome.DONE]
        kept = await sessions.get(b"\0a")
        assert kept is not None and (kept.state, kept.status) == (b"session", Status.LIVE)
        assert await sessions.get(b"\0b") is None
        assert await replies.get(b"\0a") is None, "the oldest reply makes room, and leaves no tombstone"
        for store in (sessions, replies):
            await store.close()

    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis_server(tmp_path / "redis")).url if kind == "redis" else "redis://none"
        asyncio.run(work(url))
