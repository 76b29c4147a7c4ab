"""Group commit: writes that share a transaction, and its errors."""

import asyncio

from service.sessions import Limits, session_key
from service.sessions.store import Outcome
from service.sessions.store.memory import MemoryStore
from tests.service.sessions.world import (
    World,
    run,
)


def test_commits_of_one_loop_iteration_share_a_transaction() -> None:
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
