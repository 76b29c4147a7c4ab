"""Commands to Redis: lost replies, restarts, time-outs, refusals, the number of shards. Real servers."""

import asyncio
import signal
from pathlib import Path

import pytest
from redis.asyncio import Connection

from service.errors import StartupError, StoreUnavailable
from service.sessions.store import Outcome, Record, Write
from service.sessions.store.redis import RedisStore
from tests.redis_server import RedisServer, needs_redis, redis_server
from tests.service.sessions.store.records import counters, size_of
from tests.service.sessions.store.redis_stores import Cutter, opened, put, record

pytestmark = needs_redis


def test_a_commit_whose_reply_was_lost_is_sent_again_and_done_once(server: RedisServer) -> None:
    async def work() -> None:
        async with Cutter(server).running() as cutter, opened(cutter.url) as store:
            first, second = record(1), record(2)
            await put(store, b"\0s", first)
            cutter.num_to_cut = 2
            assert await put(store, b"\0s", second, first) is Outcome.DONE
            assert cutter.num_to_cut == 0, "no reply was lost"
            assert await store.get(b"\0s") == second
            assert (await counters(store)).sessions == 1

    asyncio.run(work())


def test_a_lost_reply_before_another_replicas_step_is_not_a_lost_race(server: RedisServer) -> None:
    """A lost race is run again. This write had been applied: run again, its step would count twice."""

    async def work() -> None:
        async with (
            Cutter(server).running() as cutter,
            opened(cutter.url) as store,
            opened(server.url) as other,
        ):
            first, second, third = record(1), record(2), record(3)
            await put(store, b"\0s", first)

            async def step() -> None:
                assert await put(other, b"\0s", third, second) is Outcome.DONE

            cutter.num_to_cut, cutter.meanwhile = 1, step
            with pytest.raises(StoreUnavailable):
                await put(store, b"\0s", second, first)
            assert await store.get(b"\0s") == third
            assert await put(store, b"\0s", record(9), first) is Outcome.CONFLICT, "a real lost race still is"

    asyncio.run(work())


def test_a_commit_without_any_reply_is_unavailable(server: RedisServer) -> None:
    async def work() -> None:
        async with Cutter(server).running() as cutter, opened(cutter.url) as store:
            cutter.num_to_cut = 1000
            with pytest.raises(StoreUnavailable) as raised:
                await put(store, b"\0s", record())
            assert raised.value.retry_after_s

    asyncio.run(work())


def test_nothing_acknowledged_is_lost_when_redis_is_killed(own_server: RedisServer) -> None:
    """Ten sessions step as fast as they can while Redis is killed and started, three times."""

    async def work() -> None:
        acknowledged: dict[bytes, Record] = {}
        tried: dict[bytes, Record] = {}

        async def steps(store: RedisStore, key: bytes, killing: asyncio.Task[None]) -> None:
            while not killing.done() or key not in acknowledged or acknowledged[key].step < 10:
                old = acknowledged.get(key)
                tried[key] = record(old.step + 1 if old else 1)
                try:
                    outcome = await put(store, key, tried[key], old)
                except StoreUnavailable:
                    found = await look_up(store, key)
                    assert found in (old, tried[key]), "neither the acknowledged record nor the next one"
                    if found is not None:
                        acknowledged[key] = found
                    continue
                assert outcome is Outcome.DONE
                acknowledged[key] = tried[key]

        async def look_up(store: RedisStore, key: bytes) -> Record | None:
            while True:
                try:
                    return await store.get(key)
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

        async def kill() -> None:
            for _ in range(3):
                await asyncio.sleep(0.4)
                own_server.kill()
                await asyncio.sleep(0.5)
                await asyncio.to_thread(own_server.start)

        async with opened(own_server.url, timeout_s=0.5) as store:
            killing = asyncio.create_task(kill())
            await asyncio.gather(killing, *(steps(store, b"\0%d" % i, killing) for i in range(10)))
        own_server.kill()
        own_server.start()
        async with opened(own_server.url) as store:
            for key, last in acknowledged.items():
                assert await store.get(key) == last
            stats = await counters(store)
            assert stats.sessions == 10
            assert stats.bytes == sum(size_of(last) for last in acknowledged.values())

    asyncio.run(work())


def test_a_server_that_hangs_is_unavailable_in_time_and_every_reply_goes_to_its_own_request(
    own_server: RedisServer,
) -> None:
    async def work() -> None:
        async with opened(own_server.url, timeout_s=0.3) as store:
            one, two = record(1), record(2)
            await store.commit([Write(b"\0one", None, one), Write(b"\0two", None, two)], 0)
            own_server.signal(signal.SIGSTOP)
            async with asyncio.timeout(60):  # without a limit of its own, it would wait for ever
                with pytest.raises(StoreUnavailable):
                    await store.get(b"\0one")
                with pytest.raises(StoreUnavailable):
                    await store.check()
            own_server.signal(signal.SIGCONT)
            assert await store.get(b"\0two") == two
            await store.check()

    asyncio.run(work())


def test_a_connection_that_closes_before_its_first_command_is_a_server_that_does_not_answer(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop raises RuntimeError then. It left the task that reads, and all who waited for it, for ever."""

    async def write(_connection: Connection, *_command: object, **_options: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    async def work() -> None:
        async with opened(server.url, timeout_s=0.3) as store:
            with monkeypatch.context() as closed:
                closed.setattr(Connection, "send_packed_command", write)
                for _ in range(2):  # the second one looks at the server first
                    with pytest.raises(StoreUnavailable):
                        await asyncio.wait_for(store.get(b"\0s"), 60)
                    with pytest.raises(StoreUnavailable):
                        await store.check()
            assert await store.get(b"\0s") is None

    asyncio.run(work())


def test_a_server_that_is_down_may_start_later(tmp_path: Path) -> None:
    async def work() -> None:
        server = RedisServer(tmp_path)
        async with opened(server.url, timeout_s=0.3) as store:
            for call in (store.check(), store.get(b"\0s"), store.scan(b"", b"", 1), store.sweep(0, 1)):
                with pytest.raises(StoreUnavailable):
                    await call
            try:
                server.start()
                await store.check()
                assert await put(store, b"\0s", record()) is Outcome.DONE
            finally:
                server.kill()

    asyncio.run(work())


def test_a_server_that_refuses_us_ends_the_start(tmp_path: Path) -> None:
    async def start(url: str) -> None:
        async with opened(url):
            pass

    with redis_server(tmp_path, "--requirepass", "right") as server:
        address = server.url.removeprefix("redis://")
        asyncio.run(start(f"redis://:right@{address}"))
        with pytest.raises(StartupError, match="session store Redis"):
            asyncio.run(start(f"redis://:wrong@{address}"))
    with pytest.raises(StartupError, match="redis_url"):
        asyncio.run(start("http://127.0.0.1"))


def test_every_server_agrees_on_the_number_of_shards(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=4):
            pass
        with pytest.raises(StartupError, match="4 shards"):
            async with opened(server.url, shards=5):
                pass

    asyncio.run(work())


def test_after_a_server_was_emptied_the_number_of_shards_is_stored_again(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=4) as store:
            server.call("FLUSHALL")
            await store.sweep(0, 1)
            assert await put(store, b"\0s", record()) is Outcome.DONE
            with pytest.raises(StartupError, match="4 shards"):
                async with opened(server.url, shards=5):
                    pass
            server.call("FLUSHALL")
            async with opened(server.url, shards=5):
                pass
            for call in (store.sweep(0, 1), store.get(b"\0s")):
                with pytest.raises(StoreUnavailable, match="shards"):
                    await call

    asyncio.run(work())


def test_a_server_without_the_scripts_is_sent_them_again(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await store.check()
            server.call("SCRIPT", "FLUSH")
            assert await put(store, b"\0s", record()) is Outcome.DONE

    asyncio.run(work())
