"""What the settings and the environment ask for."""

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.errors import StartupError, StateSecretMissing
from service.http.keys import new_key
from service.parts import create_reply_store, create_store, open_tracer_of, state_tokens_of, tenants_of
from service.sessions import Binding, StateToken, StateTokens
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


SECRETS = ["a" * 32, "b" * 40]


def tokens_of(
    tmp_path: Path, *, has_keys: bool = True, file: str | None = None, inline: str = ""
) -> StateTokens:
    path = None
    if file is not None:
        path = tmp_path / "secrets"
        path.write_text(file)
    settings = Settings(
        state_secret=SecretStr(inline),
        state_secret_file=path,
        keys=SecretStr(f"acme={new_key()[1]}" if has_keys else ""),
    )
    return state_tokens_of(settings, tenants_of(settings))


def test_the_secrets_of_a_file_come_before_those_of_the_setting(tmp_path: Path) -> None:
    token = StateToken(Binding("m", "1", bytes(8)), 1, b"")
    both = tokens_of(tmp_path, file=f"{SECRETS[0]}\n\n", inline=f" {SECRETS[1]},")
    written = both.write("acme", token)
    assert StateTokens([SECRETS[0].encode()]).read("acme", written, max_state_bytes=0) == token
    assert (
        both.read("acme", StateTokens([SECRETS[1].encode()]).write("acme", token), max_state_bytes=0) == token
    )


def test_tokens_need_a_secret_only_with_keys(tmp_path: Path) -> None:
    tokens_of(tmp_path, has_keys=False).check_usable()
    with pytest.raises(StateSecretMissing):
        tokens_of(tmp_path).check_usable()


def test_a_short_secret_or_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="at least 32 characters") as raised:
        tokens_of(tmp_path, inline=f"{SECRETS[0]},{'short' * 3}")
    assert "short" not in raised.value.detail
    with pytest.raises(StartupError, match="No such file"):
        settings = Settings(state_secret_file=tmp_path / "none")
        state_tokens_of(settings, tenants_of(settings))
