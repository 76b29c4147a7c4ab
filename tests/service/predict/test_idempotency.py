"""Requests with a key: one run, and one reply for all that are sent again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from service.errors import (
    BadHeader,
    IdempotencyInProgress,
    IdempotencyMismatch,
    Overloaded,
    StartupError,
    StoreUnavailable,
)
from service.predict import Idempotency, Reply
from service.sessions.store import Limits, Outcome, Store, Write
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore

LIMITS = Limits(max_sessions=2, max_bytes=1 << 20, min_idle_ms=0, max_tombstones=0)


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    """Counts how often it runs; each run replies with its number."""

    def __init__(self) -> None:
        self.num_runs = 0
        self.error: Exception | None = None
        self.padding = b""

    async def __call__(self) -> Reply:
        self.num_runs += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Reply(b"reply %d" % self.num_runs + self.padding, "m", "1", 1, 7)


class Server:
    def __init__(self, store: Store | None = None) -> None:
        self.clock = Clock()
        self.work = Work()
        self.keys = Idempotency(store or MemoryStore(LIMITS), ttl_s=100, timeout_s=5, clock=self.clock)

    async def ask(self, key: bytes = b"k", content: bytes = b"c", tenant: str = "") -> tuple[bytes, bool]:
        reply = await self.keys.answer(key, content, self.work, tenant=tenant)
        return reply.body, reply.is_replayed


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_a_request_runs_once_for_each_key_content_and_tenant(kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        server = Server(MemoryStore(LIMITS) if kind == "memory" else LmdbStore(tmp_path, LIMITS))
        assert await server.ask() == (b"reply 1", False)
        assert await server.ask() == (b"reply 1", True)
        assert await server.ask(b'"k"') == (b"reply 1", True), "quotes are the header's, not the key's"
        with pytest.raises(IdempotencyMismatch):
            await server.ask(content=b"other")
        assert await server.ask(tenant="acme", content=b"other") == (b"reply 2", False)
        await server.keys.close()

    run(body)


def test_a_reply_survives_a_restart_and_reaches_every_worker(tmp_path: Path) -> None:
    async def body() -> None:
        first = Server(LmdbStore(tmp_path, LIMITS))
        await first.ask()
        await first.keys.close()
        second = Server(LmdbStore(tmp_path, LIMITS))
        assert await second.ask() == (b"reply 1", True)
        assert second.work.num_runs == 0
        await second.keys.close()

    run(body)


def test_requests_that_are_sent_at_once_run_once() -> None:
    async def body() -> None:
        server = Server()
        outcomes = await asyncio.gather(*(server.ask() for _ in range(5)), return_exceptions=True)
        assert outcomes.count((b"reply 1", False)) == 1
        assert sum(isinstance(outcome, IdempotencyInProgress) for outcome in outcomes) == 4
        assert server.work.num_runs == 1
        with pytest.raises(IdempotencyMismatch):
            await server.ask(content=b"other")

    run(body)


def test_after_an_error_or_a_cancellation_a_retry_runs() -> None:
    async def body() -> None:
        server = Server()
        server.work.error = Overloaded("full")
        with pytest.raises(Overloaded):
            await server.ask()
        server.work.error = None
        asking = asyncio.get_running_loop().create_task(server.ask())
        while server.work.num_runs < 2:
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await server.ask() == (b"reply 3", False)

    run(body)


def test_a_reply_expires_and_so_does_the_mark_of_a_server_that_died() -> None:
    async def body() -> None:
        store = MemoryStore(LIMITS)
        died, server = Server(store), Server(store)

        async def never() -> Reply:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        dying = asyncio.get_running_loop().create_task(died.keys.answer(b"k", b"c", never))
        while not await store.scan(b"", b"", 1):
            await asyncio.sleep(0)
        with pytest.raises(IdempotencyInProgress):
            await server.ask()
        server.clock.now_s += 16
        assert await server.ask() == (b"reply 1", False)
        server.clock.now_s += 100
        assert await server.ask() == (b"reply 1", True)
        server.clock.now_s += 1
        await server.keys.sweep()
        assert not await store.scan(b"", b"", 1)
        assert await server.ask() == (b"reply 2", False)
        dying.cancel()

    run(body)


def test_the_oldest_replies_make_room_and_one_that_is_too_large_is_not_kept() -> None:
    async def body() -> None:
        server = Server()
        for key in (b"a", b"b", b"c"):
            await server.ask(key)
            server.clock.now_s += 1
        assert (await server.ask(b"c"))[1] and not (await server.ask(b"a"))[1]
        server.work.padding = bytes(2 << 20)
        assert not (await server.ask(b"large"))[1] and not (await server.ask(b"large"))[1]

    run(body)


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"\xc3\xa9", b"x" * 256, b'"', b'""', b'"a', b'a"b"'])
def test_a_key_that_is_none_is_refused(key: bytes) -> None:
    with pytest.raises(BadHeader):
        run(lambda: Server().ask(key))  # type: ignore[arg-type, return-value]


class BrokenStore(MemoryStore):
    """Cannot be opened at first; commits fail when `is_down`."""

    num_opened = 0
    is_down = False

    async def open(self) -> None:
        self.num_opened += 1
        if self.num_opened == 1:
            raise StartupError("no disk")

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        if self.is_down:
            raise StoreUnavailable("down")
        return await super().commit(writes, now_ms)


def test_a_store_that_does_not_answer_is_unavailable_and_tried_again() -> None:
    async def body() -> None:
        store = BrokenStore(LIMITS)
        server = Server(store)
        await server.keys.sweep()
        assert store.num_opened == 0, "it is opened by the first request with a key"
        with pytest.raises(StoreUnavailable, match="no disk"):
            await server.ask()
        await server.keys.sweep()
        assert await server.ask() == (b"reply 1", False) and store.num_opened == 2
        store.is_down = True
        with pytest.raises(StoreUnavailable, match="down"):
            await server.ask(b"other")
        assert server.work.num_runs == 1

    run(body)


@pytest.mark.parametrize("error", [None, Overloaded("full")])
def test_a_store_that_fails_after_the_run_changes_no_answer(error: Exception | None) -> None:
    async def body() -> None:
        store = BrokenStore(LIMITS)
        store.num_opened = 1
        server = Server(store)

        async def work() -> Reply:
            store.is_down = True
            if error is not None:
                raise error
            return Reply(b"fine")

        if error is None:
            assert (await server.keys.answer(b"k", b"c", work)).body == b"fine"
        else:
            with pytest.raises(Overloaded):
                await server.keys.answer(b"k", b"c", work)

    run(body)
