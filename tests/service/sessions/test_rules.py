"""The rules of a session, as a table; then turns, races and groups."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from service.errors import (
    CellgateError,
    DeadlineExceeded,
    Overloaded,
    SessionCapacity,
    SessionConflict,
    SessionGone,
    SessionMismatch,
    StoreUnavailable,
    UnknownSession,
)
from service.sequence import Start
from service.sessions.resources import Home, Resources
from service.sessions.rules import MAX_WAITING, Binding, Opened, Sessions, session_key
from service.sessions.store import Limits, Outcome, Record, Write
from service.sessions.store.memory import MemoryStore

T = TypeVar("T")
NAME = "call-42"
KEY = session_key("", NAME)
BINDING = Binding("vowels", "1", b"graph678")
FIRST, SECOND, OTHER = b"1" * 16, b"2" * 16, b"x" * 16
TTL_S = 100.0


@dataclass
class Clock:
    """Time as a test says it is."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def no_home(name: str | None, version: str | None) -> Home:
    raise AssertionError(f"nobody asked for {name} {version}")


@dataclass
class World:
    """Sessions on a memory store, and the clock they look at."""

    clock: Clock = field(default_factory=Clock)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(Limits(min_idle_ms=0, max_sessions=2)))

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.store, ttl_s=TTL_S, clock=self.clock)
        self.resources = Resources(self.sessions, no_home, max_ttl_s=TTL_S)

    async def open(
        self, at: int | None = None, digest: bytes = FIRST, binding: Binding = BINDING, key: bytes = KEY
    ) -> Opened:
        return self.sessions.open(key, await self.sessions.find(key), binding, at=at, digest=digest)

    async def step(
        self, at: int | None = None, digest: bytes = FIRST, *, end: bool = False, key: bytes = KEY
    ) -> bytes:
        """One request of two steps; its state is its step count, its reply says where it ran."""
        opened = await self.open(at, digest, key=key)
        if opened.reply is not None:
            return opened.reply
        after = opened.step + 2
        done = await self.sessions.commit(
            opened, BINDING, steps=2, state=b"%d" % after, digest=digest, reply=b"to %d" % after, end=end
        )
        assert done
        return b"to %d" % after


def run(body: Callable[[World], Awaitable[T]]) -> T:
    async def work() -> T:
        return await body(World())

    return asyncio.run(work())


async def live(world: World) -> None:
    await world.step(0, FIRST)
    await world.step(2, SECOND)


async def ended(world: World) -> None:
    await world.step(0, FIRST)
    await world.step(2, SECOND, end=True)


async def expired(world: World) -> None:
    await live(world)
    world.clock.now += TTL_S + 1


async def buried(world: World) -> None:
    await expired(world)
    await world.sessions.sweep()


async def evicted(world: World) -> None:
    await live(world)
    world.clock.now += 1
    for name in ("a", "b"):
        await world.step(key=session_key("", name))


async def unknown(world: World) -> None:
    pass


async def deleted(world: World) -> None:
    await live(world)
    await world.resources.delete("", NAME)


TABLE = [
    # the session is …, at, digest → where it runs from, its stored reply, or the error
    (unknown, None, FIRST, 0), (unknown, 0, FIRST, 0), (unknown, 7, FIRST, UnknownSession),
    (deleted, None, FIRST, 0), (deleted, 0, FIRST, 0), (deleted, 4, FIRST, UnknownSession),
    (live, None, FIRST, 4), (live, 4, FIRST, 4), (live, 2, SECOND, b"to 4"),
    (live, 2, OTHER, SessionConflict), (live, 0, FIRST, SessionConflict), (live, 9, FIRST, SessionConflict),
    (ended, None, FIRST, 0), (ended, 0, FIRST, 0), (ended, 2, SECOND, b"to 4"),
    (ended, 2, OTHER, SessionGone), (ended, 4, FIRST, SessionGone),
    (expired, None, FIRST, SessionGone), (expired, 0, FIRST, 0), (expired, 4, FIRST, SessionGone),
    (expired, 2, SECOND, b"to 4"),
    (buried, None, FIRST, SessionGone), (buried, 0, FIRST, 0), (buried, 4, FIRST, SessionGone),
    (evicted, None, FIRST, SessionGone), (evicted, 0, FIRST, 0), (evicted, 4, FIRST, SessionGone),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "at", "digest", "expected"),
    TABLE,
    ids=[f"{row[0].__name__}, at {row[1]}, {row[2][:1]!r}" for row in TABLE],
)
def test_what_a_request_may_do(
    make: Callable[[World], Awaitable[None]],
    at: int | None,
    digest: bytes,
    expected: int | bytes | type[CellgateError],
) -> None:
    async def body(world: World) -> None:
        await make(world)
        before = await world.sessions.find(KEY)
        if isinstance(expected, type):
            with pytest.raises(expected):
                await world.open(at, digest)
        elif isinstance(expected, bytes):
            assert (await world.open(at, digest)).reply == expected
        else:
            opened = await world.open(at, digest)
            assert (opened.reply, opened.step) == (None, expected)
            assert opened.state == (b"%d" % expected if expected else None)
        assert await world.sessions.find(KEY) == before, "to open a session changes nothing"

    run(body)


def test_errors_tell_the_true_step_and_the_reason() -> None:
    async def body(world: World) -> None:
        await live(world)
        with pytest.raises(SessionConflict) as conflict:
            await world.open(1)
        assert conflict.value.members == {"step": 4}
        world.clock.now += TTL_S + 1
        with pytest.raises(SessionGone) as gone:
            await world.open()
        assert gone.value.members == {"reason": "expired", "step": 4}

    run(body)


@pytest.mark.parametrize(
    "binding",
    [
        Binding("other", "1", b"graph678"),
        Binding("vowels", "2", b"graph678"),
        Binding("vowels", "1", b"8" * 8),
    ],
)
def test_a_session_stays_with_its_model_version_and_graph(binding: Binding) -> None:
    async def body(world: World) -> None:
        await live(world)
        with pytest.raises(SessionMismatch):
            await world.open(binding=binding)

    run(body)


def test_a_session_is_its_tenants_own() -> None:
    assert session_key("a", "x") != session_key("", "a\0x".replace("\0", "")) != session_key("b", "x")


def test_turns_are_given_in_order_and_a_waiter_who_leaves_holds_up_nobody() -> None:
    async def body(world: World) -> list[int]:
        order: list[int] = []

        async def take(number: int) -> None:
            await world.sessions.take_turn(KEY)
            order.append(number)
            await asyncio.sleep(0)
            world.sessions.release_turn(KEY)

        await world.sessions.take_turn(KEY)
        tasks = [asyncio.create_task(take(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        world.sessions.release_turn(KEY)
        tasks[0].cancel()  # it has been handed the turn, and leaves before it knows
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.sessions.take_turn(KEY)  # free again
        return order

    assert run(body) == [2, 3, 4]


def test_a_turn_that_does_not_come_in_time_is_given_up_and_goes_to_the_next() -> None:
    async def body(world: World) -> None:
        await world.sessions.take_turn(KEY)
        late = asyncio.create_task(world.sessions.take_turn(KEY, asyncio.get_running_loop().time() + 0.01))
        next_ = asyncio.create_task(world.sessions.take_turn(KEY))
        with pytest.raises(DeadlineExceeded):
            await late
        world.sessions.release_turn(KEY)
        await next_

    run(body)


def test_no_more_than_so_many_wait_for_a_session() -> None:
    async def body(world: World) -> None:
        await world.sessions.take_turn(KEY)
        waiting = [asyncio.create_task(world.sessions.take_turn(KEY)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await world.sessions.take_turn(KEY)
        for task in waiting:
            world.sessions.release_turn(KEY)
            await task

    run(body)


def test_commits_of_one_turn_of_the_loop_share_a_transaction() -> None:
    class CountingStore(MemoryStore):
        groups: list[int]

        async def commit(self, writes: object, now_ms: int) -> list[Outcome]:
            assert isinstance(writes, list)
            self.groups.append(len(writes))
            return await super().commit(writes, now_ms)

    async def body(_: World) -> list[int]:
        store = CountingStore(Limits())
        store.groups = []
        world = World(store=store)
        await asyncio.gather(*(world.step(key=session_key("", str(i))) for i in range(7)))
        return store.groups

    assert run(body) == [7]


def test_who_loses_the_race_is_told_and_nothing_of_it_is_applied() -> None:
    async def body(world: World) -> None:
        mine, theirs = await world.open(0), await world.open(0, SECOND)

        async def commit(opened: Opened, digest: bytes) -> bool:
            written = await world.sessions.commit(
                opened, BINDING, steps=2, state=digest, digest=digest, reply=digest, end=False
            )
            return written is not None

        assert await commit(theirs, SECOND)
        assert not await commit(mine, FIRST)
        assert (await world.resources.read("", NAME)).state == SECOND
        assert (await world.open(0, SECOND)).reply == SECOND, "the same request again gets the reply"
        with pytest.raises(SessionConflict):
            await world.open(0, FIRST)

    run(body)


def test_a_full_store_refuses_and_a_broken_one_is_unavailable_to_every_waiter() -> None:
    class BrokenStore(MemoryStore):
        async def commit(self, writes: object, now_ms: int) -> list[Outcome]:  # noqa: ARG002
            raise StoreUnavailable("down")

    async def body(_: World) -> None:
        full = World(store=MemoryStore(Limits(max_sessions=1, min_idle_ms=10**9)))
        await full.step()
        with pytest.raises(SessionCapacity):
            await full.step(key=session_key("", "second"))
        broken = World(store=BrokenStore(Limits()))
        errors = await asyncio.gather(
            *(broken.step(key=session_key("", str(i))) for i in range(3)), return_exceptions=True
        )
        assert [type(error) for error in errors] == [StoreUnavailable] * 3

    run(body)


def test_pages_leave_out_the_expired_and_end() -> None:
    async def body(world: World) -> None:
        for name in ("a", "b"):
            await world.step(key=session_key("", name))
        page = await world.resources.page("", limit=1)
        assert [name for name, _ in page.sessions] == ["a"] and page.next == "a"
        page = await world.resources.page("", after="a")
        assert [name for name, _ in page.sessions] == ["b"] and page.next is None
        world.clock.now += TTL_S + 1
        assert (await world.resources.page("")).sessions == []

    run(body)


def test_delete_frees_the_name_and_a_second_one_finds_nothing() -> None:
    async def body(world: World) -> None:
        await live(world)
        await world.resources.delete("", NAME)
        with pytest.raises(UnknownSession):
            await world.resources.delete("", NAME)
        await expired(world)
        with pytest.raises(SessionGone):
            await world.resources.delete("", NAME)

    run(body)


def test_a_step_prolongs_a_life() -> None:
    async def body(world: World) -> Record:
        await world.step(0)
        world.clock.now += TTL_S - 1
        await world.step(2, SECOND)
        world.clock.now += TTL_S - 1
        return await world.resources.read("", NAME)

    assert run(body).step == 4


def test_a_write_knows_what_it_replaces() -> None:
    async def body(world: World) -> list[Outcome]:
        await live(world)
        return await world.store.commit([Write(KEY, None, None)], 0)

    assert run(body) == [Outcome.CONFLICT]


@pytest.mark.parametrize("other", [Binding("other", "1", b"graph678"), Binding("vowels", "2", b"graph678")])
@pytest.mark.parametrize("start", ["auto", "new", "restart"])
def test_a_stored_reply_is_only_for_the_model_that_gave_it(other: Binding, start: Start) -> None:
    async def body(world: World) -> Opened:
        await world.step(0, end=True)
        record = await world.sessions.find(KEY)
        again = world.sessions.open(KEY, record, BINDING, at=0, digest=FIRST, start=start)
        assert again.reply is not None
        return world.sessions.open(KEY, record, other, at=0, digest=FIRST, start=start)

    opened = run(body)
    assert opened.reply is None and opened.step == 0, "a new session of the other model"
