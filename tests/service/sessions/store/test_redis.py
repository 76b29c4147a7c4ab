"""What only Redis can get wrong: lost replies, restarts, timeouts, shards, a Cluster. Real servers.

The laws that every store keeps are in test_stores.py.
"""

import asyncio
import random
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import CorruptRecord, StartupError, StoreUnavailable
from service.sessions.store import Limits, Outcome, Record, Status, Write
from service.sessions.store.base import tombstone
from service.sessions.store.redis import RedisStore
from service.settings import Settings
from tests.ports import free_port
from tests.redis_server import RedisServer, needs_redis, redis_cluster, redis_server

pytestmark = needs_redis
LIMITS = Limits(max_sessions=1000, max_bytes=1 << 24, min_idle_ms=0, max_tombstones=1000)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.ask("FLUSHALL")
    shared_server.ask("CONFIG", "RESETSTAT")
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may kill."""
    with redis_server(tmp_path) as server:
        yield server


def record(step: int = 1, *, touched_ms: int = 0, ttl_ms: int = 1000, state: bytes = b"s" * 100) -> Record:
    return Record(
        Status.LIVE, "vowels", "1", b"graph\0\xff8", random.randbytes(8), step, 5, touched_ms, ttl_ms,
        state, step - 1, b"d" * 16, b'{"label": "3"}',
    )  # fmt: skip


@asynccontextmanager
async def opened(
    url: str, limits: Limits = LIMITS, *, timeout_s: float = 5.0, shards: int = 1
) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, limits, timeout_s=timeout_s, shards=shards)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def put(store: RedisStore, key: bytes, new: Record, old: Record | None = None) -> Outcome:
    return (await store.commit([Write(key, old.revision if old else None, new)], new.touched_ms))[0]


def calls(server: RedisServer, command: str) -> int:
    """How often the server has run a command since the test began."""
    found = server.ask("INFO", "commandstats").partition(f"cmdstat_{command}:calls=")[2]
    return int(found.partition(",")[0] or 0)


def test_a_group_of_commits_is_one_command(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await store.check()  # the script is known from here on
            before = calls(server, "evalsha")
            outcomes = await store.commit([Write(b"\0%d" % i, None, record()) for i in range(50)], 0)
            assert outcomes == [Outcome.DONE] * 50
            assert calls(server, "evalsha") == before + 1

    asyncio.run(work())


def test_requests_that_arrive_together_share_a_read(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            records = [record(i) for i in range(1, 51)]
            await store.commit([Write(b"\0%d" % i, None, new) for i, new in enumerate(records)], 0)
            assert await asyncio.gather(*(store.get(b"\0%d" % i) for i in range(50))) == records
            assert calls(server, "hmget") == 1

    asyncio.run(work())


def test_a_tombstone_made_inside_redis_is_the_one_python_would_make(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, Limits(max_sessions=1, min_idle_ms=0)) as store:
            evicted, expired = record(7, touched_ms=11), record(2**40, touched_ms=12, ttl_ms=3)
            await put(store, b"\0evicted", evicted)
            await put(store, b"\0expired", expired)
            assert await store.get(b"\0evicted") == tombstone(evicted, Status.EVICTED, 12)
            assert await store.sweep(15, 10) == 0, "it may idle for 3 ms, and has"
            assert await store.sweep(16, 10) == 1
            assert await store.get(b"\0expired") == tombstone(expired, Status.EXPIRED, 16)

    asyncio.run(work())


def test_a_session_with_a_short_life_does_not_wait_for_one_with_a_long_life(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await put(store, b"\0long", record(touched_ms=0, ttl_ms=1_000_000))
            await put(store, b"\0short", record(touched_ms=100, ttl_ms=1))
            assert await store.sweep(1000, 1) == 1
            assert [key for key, _ in await store.scan(b"\0", b"", 10)] == [b"\0long"]

    asyncio.run(work())


def test_a_record_that_was_damaged_is_refused(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await put(store, b"\0good", record())
            server.ask("HSET", "{cellgate:0}:records", "\0bad", "nonsense")
            found = await asyncio.gather(store.get(b"\0good"), store.get(b"\0bad"), return_exceptions=True)
            assert isinstance(found[0], Record)
            assert isinstance(found[1], CorruptRecord)

    asyncio.run(work())


@pytest.mark.parametrize("damaged", ["nonsense", "CGR1" + "x" * 200], ids=["short", "long"])
def test_a_damaged_record_stands_in_nobodys_way(server: RedisServer, damaged: str) -> None:
    async def work() -> None:
        async with opened(server.url, Limits(max_sessions=3, min_idle_ms=0)) as store:
            for touched_ms, name in enumerate((b"t\0a", b"t\0b", b"t\0c")):
                await put(store, name, record(touched_ms=touched_ms))
            server.ask("HSET", "{cellgate:0}:records", "t\0a", damaged)
            assert [key for key, _ in await store.scan(b"t\0", b"", 2)] == [b"t\0b", b"t\0c"], "a full page"
            assert await put(store, b"t\0d", record(touched_ms=3)) is Outcome.DONE
            evicted = await store.get(b"t\0a")
            assert evicted is not None and (evicted.status, evicted.step) == (Status.EVICTED, 0)
            server.ask("HSET", "{cellgate:0}:records", "t\0b", damaged)
            assert await store.sweep(10_000, 10) == 3
            assert await store.sweep(10_000, 10) == 0
            server.ask("HSET", "{cellgate:0}:records", "t\0c", damaged)
            with pytest.raises(CorruptRecord) as raised:
                await store.get(b"t\0c")
            leave = Write(b"t\0c", raised.value.revision, None)
            assert await store.commit([leave], 0) == [Outcome.DONE]
            assert await store.get(b"t\0c") is None

    asyncio.run(work())


def test_tombstones_of_an_older_server_are_bounded_in_number(server: RedisServer) -> None:
    """It counted no bytes of them, and had no `plots`: a new server must not uncount what nobody counted."""

    async def work() -> None:
        ended = [replace(record(touched_ms=i, state=b""), status=Status.ENDED) for i in range(8)]
        async with opened(server.url, Limits(max_tombstones=4)) as store:
            for i in range(4):
                await put(store, b"t\0%d" % i, ended[i])
            for name in ("plots", "grave_bytes"):
                server.ask("DEL", "{cellgate:0}:" + name)
            server.ask("HDEL", "{cellgate:0}:tenants", "t\0tombstones", "t\0tombstone_bytes")
            for i in range(4, 8):
                await put(store, b"t\0%d" % i, ended[i])
            kept = [await store.get(b"t\0%d" % i) is not None for i in range(8)]
            assert kept == [False, False, True, True, False, False, True, True], "half, beside the old"
            stats = await store.stats()
            assert (stats.tombstones, stats.tombstone_bytes) == (4, 2 * len(ended[0].pack()))

    asyncio.run(work())


def test_replicas_racing_for_one_session_apply_each_step_once(server: RedisServer) -> None:
    async def work() -> None:
        async def steps(store: RedisStore) -> int:
            won = 0
            while won < 25:
                old = await store.get(b"\0s")
                won += await put(store, b"\0s", record(old.step + 1 if old else 1), old) is Outcome.DONE
            return won

        async with opened(server.url) as one, opened(server.url) as two, opened(server.url) as three:
            assert await asyncio.gather(*map(steps, (one, two, three))) == [25, 25, 25]
            last = await one.get(b"\0s")
            assert last is not None and last.step == 75

    asyncio.run(work())


class Cutter:
    """A proxy before Redis that can lose the reply to a commit: Redis has run it, the store never hears."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.port = free_port()
        self.num_to_cut = 0
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cutter"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            while request := await reader.read(1 << 20):
                upstream.write(request)
                reply = await upstream_reader.read(1 << 20)
                if b"EVALSHA" in request and self.num_to_cut:
                    self.num_to_cut -= 1
                    if self.meanwhile is not None:
                        await self.meanwhile()
                    return
                writer.write(reply)
        finally:
            writer.close()
            upstream.close()


def test_a_commit_whose_reply_was_lost_is_found_to_be_done(server: RedisServer) -> None:
    async def work() -> None:
        async with Cutter(server).running() as cutter, opened(cutter.url) as store:
            first, second = record(1), record(2)
            await put(store, b"\0s", first)
            cutter.num_to_cut = 2
            assert await put(store, b"\0s", second, first) is Outcome.DONE
            assert cutter.num_to_cut == 0, "no reply was lost"
            assert await store.get(b"\0s") == second
            assert (await store.stats()).sessions == 1

    asyncio.run(work())


def test_a_lost_reply_under_which_another_replica_went_on_is_no_lost_race(server: RedisServer) -> None:
    """A lost race is run again. Ours had been applied: run again, its step would be taken twice."""

    async def work() -> None:
        async with (
            Cutter(server).running() as cutter,
            opened(cutter.url) as store,
            opened(server.url) as other,
        ):
            first, second, third = record(1), record(2), record(3)
            await put(store, b"\0s", first)

            async def go_on() -> None:
                assert await put(other, b"\0s", third, second) is Outcome.DONE

            cutter.num_to_cut, cutter.meanwhile = 1, go_on
            with pytest.raises(StoreUnavailable):
                await put(store, b"\0s", second, first)
            assert await store.get(b"\0s") == third
            assert await put(store, b"\0s", record(9), first) is Outcome.CONFLICT, "a real one still is"

    asyncio.run(work())


def test_when_no_reply_ever_comes_nobody_is_told_it_was_done(server: RedisServer) -> None:
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

        async def steps(store: RedisStore, key: bytes, until: float) -> None:
            while time.monotonic() < until:
                old = acknowledged.get(key)
                tried[key] = record(old.step + 1 if old else 1)
                try:
                    outcome = await put(store, key, tried[key], old)
                except StoreUnavailable:
                    found = await look_up(store, key)
                    assert found in (old, tried[key]), "neither what was acknowledged nor what came next"
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
            until = time.monotonic() + 4
            await asyncio.gather(kill(), *(steps(store, b"\0%d" % i, until) for i in range(10)))
            assert sum(found.step for found in acknowledged.values()) > 100, "hardly anything happened"
        own_server.kill()
        own_server.start()
        async with opened(own_server.url) as store:
            for key, last in acknowledged.items():
                assert await store.get(key) == last
            stats = await store.stats()
            assert stats.sessions == 10
            assert stats.bytes == sum(len(last.pack()) for last in acknowledged.values())

    asyncio.run(work())


def test_a_server_that_hangs_is_unavailable_in_time_and_no_reply_goes_to_the_wrong_asker(
    own_server: RedisServer,
) -> None:
    async def work() -> None:
        async with opened(own_server.url, timeout_s=0.3) as store:
            one, two = record(1), record(2)
            await store.commit([Write(b"\0one", None, one), Write(b"\0two", None, two)], 0)
            own_server.signal(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.get(b"\0one")
            with pytest.raises(StoreUnavailable):
                await store.check()
            assert time.monotonic() - began < 2
            own_server.signal(signal.SIGCONT)
            assert await store.get(b"\0two") == two
            await store.check()

    asyncio.run(work())


def test_a_server_that_is_down_may_come_later(tmp_path: Path) -> None:
    async def work() -> None:
        server = RedisServer(tmp_path)
        async with opened(server.url, timeout_s=0.3) as store:
            for ask in (store.check(), store.get(b"\0s"), store.stats(), store.sweep(0, 1)):
                with pytest.raises(StoreUnavailable):
                    await ask
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


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis://:hunter2/secret@host:6379/0", "cannot be read"),
        ("redis://:hunter2#secret@host:6379/0", "cannot be read"),
        ("redis://[hunter2@host:6379/0", "cannot be read"),
        ("redis://host:6379/0?hunter2", "cannot be read"),
        ("redis://user:1234/hunter2@host:6379/0", "path"),
        ("redis://user:1234#hunter2@host:6379/0", "path"),
        ("redis://host:6379/hunter2", "path"),
        ("redis+cluster://host:6379/2", "cluster has only 0"),
        ("redis://:1234", "no server"),
        ("unix://", "no server"),
        ("http://hunter2@host", "scheme"),
        ("hunter2", "scheme"),
        ("redis://host:6379/0?hunter2=1", "option"),
        ("redis://host:6379/0?db=hunter2", "option"),
        ("redis+cluster://host:6379/0?hunter2=1", "option"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_a_word_of_it(url: str, fault: str) -> None:
    """`Port could not be cast to integer value as 'hunter2'` was in the log."""

    async def start() -> None:
        async with opened(url):
            pass

    with pytest.raises(StartupError, match=f"redis_url.*{fault}") as raised:
        asyncio.run(start())
    told = "".join(traceback.format_exception(raised.value)).partition("service.errors.StartupError")[2]
    assert not any(part in told for part in ("hunter2", "secret", "1234", "6379"))
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("ending", ["", "/", "/0", "/3", "/0?health_check_interval=5", "?db=2"])
def test_a_url_may_say_less_and_more(server: RedisServer, ending: str) -> None:
    async def start() -> None:
        async with opened(server.url.removesuffix("/0") + ending) as store:
            await store.check()

    asyncio.run(start())


def test_the_password_is_in_no_text_about_the_settings() -> None:
    settings = Settings.load({}, {"CELLGATE_REDIS_URL": "redis://:hunter2@host"})
    assert "hunter2" not in f"{settings!r} {settings}"
    with pytest.raises(StartupError) as raised:
        Settings.load({}, {"CELLGATE_REDIS_URL": "redis://:hunter2@host", "CELLGATE_REDIS_SHARDS": "0"})
    assert "hunter2" not in raised.value.detail


def test_every_server_agrees_on_the_number_of_shards(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=4):
            pass
        with pytest.raises(StartupError, match="4 shards"):
            async with opened(server.url, shards=5):
                pass

    asyncio.run(work())


def test_a_server_that_was_emptied_is_agreed_with_anew(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=4) as store:
            server.ask("FLUSHALL")
            await store.sweep(0, 1)
            assert await put(store, b"\0s", record()) is Outcome.DONE
            with pytest.raises(StartupError, match="4 shards"):
                async with opened(server.url, shards=5):
                    pass
            server.ask("FLUSHALL")
            async with opened(server.url, shards=5):
                pass
            for ask in (store.sweep(0, 1), store.get(b"\0s")):
                with pytest.raises(StoreUnavailable, match="ShardsDiffer"):
                    await ask

    asyncio.run(work())


def test_a_full_server_takes_nothing_in_and_lets_go(own_server: RedisServer) -> None:
    """It stayed full for ever: the sweep was refused as well."""

    async def work() -> None:
        async with opened(own_server.url) as store:
            names = [b"\0%d" % i for i in range(4)]
            held = {name: record(1) for name in names}
            for name in names:
                await put(store, name, held[name])
            own_server.ask("CONFIG", "SET", "maxmemory", "1")
            steps = [Write(name, held[name].revision, record(2)) for name in names]
            leave = [Write(name, held[name].revision, None) for name in names]
            with pytest.raises(StoreUnavailable):
                await store.commit(steps[:1], 0)
            with pytest.raises(StoreUnavailable):
                await store.check()
            assert await store.get(names[0]) == held[names[0]]
            assert await store.commit(leave[:1], 0) == [Outcome.DONE]
            assert await store.commit([leave[1], steps[2]], 0) == [Outcome.DONE, Outcome.FULL]
            assert await store.commit(leave[:1], 0) == [Outcome.CONFLICT]
            assert await store.sweep(10_000, 10) == 2, "the other two have expired"
            own_server.ask("CONFIG", "SET", "maxmemory", "0")
            await store.check()
            stats = await store.stats()
            assert (stats.sessions, stats.bytes, stats.tombstones) == (0, 0, 2)

    asyncio.run(work())


def test_a_read_only_replica_is_not_ready(own_server: RedisServer) -> None:
    async def work() -> None:
        async with opened(own_server.url) as store:
            own_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
            with pytest.raises(StoreUnavailable):
                await store.check()

    asyncio.run(work())


def test_a_server_that_forgot_its_scripts_is_sent_them_again(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url) as store:
            await store.check()
            server.ask("SCRIPT", "FLUSH")
            assert await put(store, b"\0s", record()) is Outcome.DONE

    asyncio.run(work())


async def check_shards(store: RedisStore) -> None:
    keys = [b"tenant\0%03d" % i for i in range(60)]
    records = [record(i + 1, touched_ms=i) for i in range(60)]
    outcomes = await store.commit([Write(k, None, new) for k, new in zip(keys, records, strict=True)], 60)
    assert outcomes == [Outcome.DONE] * 60
    mixed = [Write(keys[i], records[i].revision if i % 2 else None, record(99)) for i in range(10)]
    assert await store.commit(mixed, 60) == [Outcome.CONFLICT, Outcome.DONE] * 5
    assert [r.step if r else 0 for r in await asyncio.gather(*map(store.get, keys))] == [
        99 if i < 10 and i % 2 else i + 1 for i in range(60)
    ]
    page: list[bytes] = []
    while found := await store.scan(b"tenant\0", page[-1] if page else b"", 7):
        page += [key for key, _ in found]
    assert page == keys
    stats = await store.stats()
    assert (stats.sessions, stats.tombstones) == (60, 0)
    assert await store.sweep(5000, 25) == 25
    assert await store.sweep(5000, 100) == 35


def test_shards_are_one_store(server: RedisServer) -> None:
    async def work() -> None:
        async with opened(server.url, shards=7) as store:
            await check_shards(store)

    asyncio.run(work())


def test_a_cluster_spreads_the_shards_and_says_which_cannot_be_had(tmp_path: Path) -> None:
    async def work(nodes: list[RedisServer]) -> None:
        url = nodes[0].url.replace("redis://", "redis+cluster://")
        async with opened(url, shards=12, timeout_s=3) as store:
            await check_shards(store)
            await store.check()
            sizes = [int(node.ask("DBSIZE")[1:]) for node in nodes]
            assert all(sizes), f"keys per node: {sizes}"
            nodes[2].kill()
            with pytest.raises(StoreUnavailable):
                await store.check()
            nodes[2].start()
            for _ in range(50):
                try:
                    await store.check()
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.1)
            assert (await store.stats()).tombstones == 60

    with redis_cluster(tmp_path) as nodes:
        asyncio.run(work(nodes))
