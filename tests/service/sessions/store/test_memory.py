"""The memory store forgets at its end. The rules for every store are in test_stores.py."""

from service.sessions.store import Record, Store
from service.sessions.store.memory import MemoryStore
from tests.service.sessions.store.records import ROOMY, put, record, run


def test_sessions_live_as_long_as_the_store() -> None:
    async def begin(store: Store) -> Record | None:
        await store.check()
        await put(store, b"\0a", record())
        return await store.get(b"\0a")

    async def read(store: Store) -> Record | None:
        return await store.get(b"\0a")

    assert run(MemoryStore(ROOMY), begin) is not None
    assert run(MemoryStore(ROOMY), read) is None


def test_tombstones_that_end_in_the_same_millisecond_are_told_apart() -> None:
    async def body(store: Store) -> list[bool]:
        for name in (b"\0a", b"\0b", b"\0c"):
            await put(store, name, record(ttl_ms=1))
        await store.sweep(10_000, 10)
        held = await store.get(b"\0b")
        await put(store, b"\0b", None, held)
        return [await store.get(name) is not None for name in (b"\0a", b"\0b", b"\0c")]

    assert run(MemoryStore(ROOMY), body) == [True, False, True]
