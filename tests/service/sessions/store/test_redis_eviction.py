"""A Redis that may delete sessions is refused, and what it has deleted does not begin anew in silence."""

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path

import pytest

from service.errors import StartupError, StoreUnavailable
from service.sessions.store import Outcome, Status
from service.sessions.store.redis import RedisStore
from tests.redis_server import RedisServer, needs_redis, redis_cluster
from tests.service.sessions.store.redis_stores import LIMITS, put, record

pytestmark = needs_redis


def opening(url: str, *, allow: bool = False, shards: int = 1) -> Awaitable[RedisStore]:
    async def work() -> RedisStore:
        store = RedisStore(url, LIMITS, timeout_s=5, shards=shards, allow_eviction=allow)
        await store.open()
        return store

    return work()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_evicts_sessions_is_refused_unless_it_is_allowed(
    server: RedisServer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", policy)

    async def work() -> None:
        with pytest.raises(StartupError, match=f"{policy} deletes sessions .* or set redis_allow_eviction"):
            await opening(server.url)
        store = await opening(server.url, allow=True)
        assert f"Redis has maxmemory-policy {policy}" in caplog.text
        await store.check()
        await store.close()

    asyncio.run(work())


def test_a_policy_that_evicts_only_keys_with_an_expiry_is_not_refused(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")

    async def work() -> None:
        store = await opening(server.url)
        await put(store, b"\0s", record())
        assert server.call("TTL", "{cellgate:0}:records") == ":-1\r\n"
        await store.close()

    asyncio.run(work())


def test_a_policy_that_changes_while_we_run_makes_the_store_unavailable(server: RedisServer) -> None:
    async def work() -> None:
        store = await opening(server.url)
        server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        for attempt in (lambda: store.sweep(0, 1), store.check, lambda: store.get(b"\0s")):
            with pytest.raises(StoreUnavailable, match="cannot be used: maxmemory-policy allkeys-lru"):
                await attempt()
        server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await store.check()
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("forbidden", "refused"), [("-info", True), ("-config", True), ("-info -config", False)]
)
def test_managed_servers_may_forbid_one_way_to_read_the_policy_or_both(
    server: RedisServer, forbidden: str, refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.call("ACL", "SETUSER", "managed", "reset", "on", ">word", "~*", "+@all", *forbidden.split())
    url = server.url.replace("://", "://managed:word@")

    async def work() -> None:
        if refused:
            with pytest.raises(StartupError, match="allkeys-lru"):
                await opening(url)
        else:
            await (await opening(url)).close()
            assert "does not show its maxmemory-policy" in caplog.text

    asyncio.run(work())


def test_every_node_of_a_cluster_is_asked(tmp_path: Path) -> None:
    async def work() -> None:
        with redis_cluster(tmp_path) as nodes:
            url = nodes[0].url.replace("redis://", "redis+cluster://").removesuffix("/0")
            await (await opening(url, shards=4)).close()
            nodes[2].call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            with pytest.raises(StartupError, match="allkeys-lru"):
                await opening(url, shards=4)

    asyncio.run(work())


def test_evicted_keys_are_logged(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        own_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        store = await opening(own_server.url, allow=True)
        for name in range(50):
            own_server.call("SET", f"other{name}", "x" * 20_000)
        assert "evicted" not in caplog.text
        own_server.call("CONFIG", "SET", "maxmemory", "1")
        own_server.call("SET", "one-more", "x")  # Redis evicts before it runs a command
        own_server.call("CONFIG", "SET", "maxmemory", "0")
        with caplog.at_level(logging.ERROR):
            await store.sweep(0, 1)
            await store.sweep(0, 1)
        lost = [line.message for line in caplog.records if line.levelno == logging.ERROR]
        assert "keys: sessions are lost" in lost[0]
        assert sum("sessions are lost" in line for line in lost) == 1, "said again"
        await store.close()

    asyncio.run(work())


def test_a_store_that_was_emptied_is_logged(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        store = await opening(server.url)
        server.call("FLUSHALL")
        await store.sweep(0, 1)
        assert "Redis has lost keys" in caplog.text
        await store.close()

    asyncio.run(work())


def test_a_session_whose_record_was_evicted_does_not_begin_anew(server: RedisServer) -> None:
    """Of 48,000 requests 44,000 began anew, without a word."""

    async def work() -> None:
        store = await opening(server.url)
        await put(store, b"acme\0s", record(7))
        server.call("DEL", "{cellgate:0}:records")
        assert await put(store, b"acme\0s", record(1)) is Outcome.CONFLICT
        found = await store.get(b"acme\0s")
        assert found is not None and found.status is Status.EVICTED, "410, until the client sends at: 0"
        assert await put(store, b"acme\0s", record(1), found) is Outcome.DONE
        assert [key for key, _ in await store.scan(b"acme\0", b"", 9)] == [b"acme\0s"]
        await store.close()

    asyncio.run(work())
