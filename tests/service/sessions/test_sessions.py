"""Sessions on a store: races, a full store, the TTL."""

import asyncio

import pytest

from service.errors import (
    SessionCapacity,
    SessionConflict,
    StoreUnavailable,
)
from service.metrics import Metrics, Registry, SessionCounts, add_up
from service.sessions import Limits, Opened, Record, Resources, Sessions, session_key
from service.sessions.store import Outcome, Write
from service.sessions.store.memory import MemoryStore
from tests.service.sessions.world import (
    BINDING,
    FIRST,
    KEY,
    NAME,
    OTHER,
    SECOND,
    TTL_S,
    World,
    live,
    no_home,
    run,
)


def test_a_request_that_loses_the_race_is_not_applied() -> None:
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


@pytest.mark.promise(6)
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


def test_of_many_that_are_committed_together_each_has_its_own_outcome() -> None:
    """A stream's frames of one turn: one applied, one beaten by another worker, one without room."""

    async def body(_: World) -> None:
        world = World(store=MemoryStore(Limits(max_sessions=2, min_idle_ms=10**9)))
        await world.step(0, FIRST)
        stale = await world.open(2, SECOND)
        await world.step(2, OTHER)
        keys = [session_key("", name) for name in ("new", "one more")]
        all_opened = [await world.open(0, FIRST, key=key) for key in keys]
        changes = [
            (opened, world.sessions.advance(
                opened, BINDING, steps=1, state=b"s", digest=SECOND, reply=b"r", end=False
            ))
            for opened in (all_opened[0], stale, all_opened[1])
        ]  # fmt: skip
        applied, beaten, refused = await world.sessions.commit_all(changes)
        assert applied is True and beaten is False and isinstance(refused, SessionCapacity)
        assert await world.sessions.find(keys[0]) == changes[0][1]

    run(body)


def test_what_happens_to_sessions_is_counted() -> None:
    """Each event once; a step of a session that continues is none of them."""

    async def body(world: World) -> dict[str, float]:
        counted = Metrics(Registry())
        world.sessions = Sessions(world.store, ttl_s=TTL_S, clock=world.clock, counts=SessionCounts(counted))
        world.resources = Resources(world.sessions, no_home, max_ttl_s=TTL_S)
        mine, theirs = await world.open(0), await world.open(0, SECOND)
        for opened, digest in ((theirs, SECOND), (mine, FIRST)):
            await world.sessions.commit(
                opened, BINDING, steps=2, state=b"", digest=digest, reply=digest, end=False
            )
        await world.step(0, SECOND)  # a replay
        with pytest.raises(SessionConflict):
            await world.step(5)
        await world.step(2, end=True)
        await world.step(0, SECOND)
        world.clock.now += TTL_S + 1
        await world.step(0)  # in place of one that has expired
        await world.step(0, key=session_key("", "swept"))
        world.clock.now += TTL_S + 1
        await world.sessions.sweep()
        await world.step(0, key=session_key("", "deleted"))
        await world.resources.delete("", "deleted")
        read = add_up(counted.registry.described, counted.registry.read)
        return {event: value for (event,), (value,) in read["cellgate_session_events"].items()}

    assert run(body) == {
        "created": 5, "ended": 2, "expired": 3, "evicted": 0, "conflict": 1, "replay": 1, "lost_race": 1
    }  # fmt: skip


def test_a_step_restarts_the_ttl() -> None:
    async def body(world: World) -> Record:
        await world.step(0)
        world.clock.now += TTL_S - 1
        await world.step(2, SECOND)
        world.clock.now += TTL_S - 1
        return await world.resources.read("", NAME)

    assert run(body).step == 4


def test_a_write_without_the_revision_of_a_live_session_conflicts() -> None:
    async def body(world: World) -> list[Outcome]:
        await live(world)
        return await world.store.commit([Write(KEY, None, None)], 0)

    assert run(body) == [Outcome.CONFLICT]
