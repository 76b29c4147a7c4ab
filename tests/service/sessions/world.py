"""Sessions on a memory store under a clock that tests set, and the ways a session can end. No tests."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from service.manifest import Manifest, StateSpec
from service.sessions import Binding, HistoryLimits, Home, Limits, Opened, Resources, Sessions, session_key
from service.sessions.store.memory import MemoryStore
from service.state import StateLayout

T = TypeVar("T")
NAME = "call-42"
KEY = session_key("", NAME)
BINDING = Binding("vowels", "1", b"graph678")
FIRST, SECOND, OTHER = b"1" * 16, b"2" * 16, b"x" * 16
TTL_S = 100.0
STATES = (
    StateSpec(input="h", output="h_out", shape=(1, "batch", 2)),
    StateSpec(input="c", output="c_out", shape=("batch", 3), initial=0.5),
)
LAYOUT = StateLayout(STATES)


@dataclass
class Clock:
    """A clock that stands still until a test sets it."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def no_home(name: str | None, version: str | None) -> Home:
    """For tests that need no model."""
    raise AssertionError(f"no test asks for {name} {version}")


def keep_reply(reply: bytes, *, session: str, step: int, manifest: Manifest) -> bytes | None:  # noqa: ARG001
    """For tests whose replies have no form."""
    return reply


@dataclass
class World:
    """Sessions on a memory store, and their clock."""

    clock: Clock = field(default_factory=Clock)
    store: MemoryStore = field(default_factory=lambda: MemoryStore(Limits(min_idle_ms=0, max_sessions=2)))
    find_home: Callable[[str | None, str | None], Home] = no_home
    history_limits: HistoryLimits | None = None

    def __post_init__(self) -> None:
        self.sessions = Sessions(
            self.store, ttl_s=TTL_S, clock=self.clock, history_limits=self.history_limits
        )
        self.resources = Resources(self.sessions, self.find_home, max_ttl_s=TTL_S, take_reply=keep_reply)

    async def open(
        self, at: int | None = None, digest: bytes = FIRST, binding: Binding = BINDING, key: bytes = KEY
    ) -> Opened:
        """Open a session for a request."""
        return self.sessions.open(key, await self.sessions.find(key), binding, at=at, digest=digest)

    async def step(
        self, at: int | None = None, digest: bytes = FIRST, *, end: bool = False, key: bytes = KEY
    ) -> bytes:
        """One request of two steps; the state is the step count, the reply names it."""
        opened = await self.open(at, digest, key=key)
        if opened.reply is not None:
            return opened.reply
        after = opened.step + 2
        committed = await self.sessions.commit(
            opened, BINDING, steps=2, state=b"%d" % after, digest=digest, reply=b"to %d" % after, end=end
        )
        assert committed
        return b"to %d" % after


def run(body: Callable[[World], Awaitable[T]]) -> T:
    """Run `body` on a new world."""

    async def work() -> T:
        return await body(World())

    return asyncio.run(work())


async def live(world: World) -> None:
    """A session at step 4; its last request started at step 2."""
    await world.step(0, FIRST)
    await world.step(2, SECOND)


async def ended(world: World) -> None:
    """The same, ended by its last request."""
    await world.step(0, FIRST)
    await world.step(2, SECOND, end=True)


async def expired(world: World) -> None:
    """A session that has expired but was not swept."""
    await live(world)
    world.clock.now += TTL_S + 1


async def swept(world: World) -> None:
    """A session that has expired and is a tombstone."""
    await expired(world)
    await world.sessions.sweep()


async def evicted(world: World) -> None:
    """A session that two others have pushed out."""
    await live(world)
    world.clock.now += 1
    for name in ("a", "b"):
        await world.step(key=session_key("", name))


async def unknown(world: World) -> None:
    """No session."""


async def deleted(world: World) -> None:
    """A session that was deleted: nothing is left of it."""
    await live(world)
    await world.resources.delete("", NAME)
