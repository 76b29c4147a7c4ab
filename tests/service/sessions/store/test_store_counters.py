"""After any history, on every store, the counters are what a recount of the stored records gives."""

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from service.sessions.store import Limits, Quota, Record, Status, Write
from service.sessions.store.base import tenant_of
from service.sessions.store.record import new_revision
from tests.service.sessions.store.records import Create, count, counters, counters_of, held

TENANTS = (b"", b"a", b"b", b"c")
KEYS = st.sampled_from([tenant + b"\0%d" % i for tenant in TENANTS for i in range(2)])
LIMITS = Limits(max_sessions=3, max_bytes=900, min_idle_ms=0, max_tombstones=4, tombstone_share=0.5)
QUOTA = Quota(max_sessions=2, max_bytes=600)  # of tenant a

SIZES = st.integers(0, 20) | st.integers(0, 250)


class CountingMachine(RuleBasedStateMachine):
    """Every kind of write, nearly always at capacity: sessions are evicted, and tombstones dropped."""

    create: Create

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.create(LIMITS)
        self.do(self.store.open())
        self.now_ms = 1_000

    def do(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()

    def write(self, key: bytes, new: Record | None) -> Write:
        old = self.do(self.store.get(key))
        quota = QUOTA if tenant_of(key) == b"a" else None
        return Write(key, old.revision if old else None, new, quota)

    def live(self, size: int, ttl_s: int = 1000, reply: int = 0) -> Record:
        self.now_ms += 1
        return Record(
            Status.LIVE, "m", "1", b"graph678", new_revision(), 1, self.now_ms, self.now_ms, ttl_s * 1000,
            bytes(size), reply=bytes(reply),
        )  # fmt: skip

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), size=SIZES)
    def begin_or_step_or_replace(self, keys: list[bytes], size: int) -> None:
        writes = [self.write(key, self.live(size, ttl_s=1 + size % 5)) for key in keys]
        self.do(self.store.commit(writes, self.now_ms))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), size=SIZES)
    def end(self, keys: list[bytes], size: int) -> None:
        writes = [self.write(key, replace(self.live(0, reply=size), status=Status.ENDED)) for key in keys]
        self.do(self.store.commit(writes, self.now_ms))

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.do(self.store.commit([self.write(key, None)], self.now_ms))

    @rule(key=KEYS)
    def migrate(self, key: bytes) -> None:
        old = self.do(self.store.get(key))
        if old is not None and old.is_live:
            moved = replace(old, version="12", graph=b"graph900", revision=new_revision())
            self.do(self.store.commit([self.write(key, moved)], self.now_ms))

    @rule(key=KEYS, size=SIZES)
    def import_(self, key: bytes, size: int) -> None:
        imported = replace(self.live(size, reply=size // 2), created_ms=1, step=7, at=5)
        self.do(self.store.commit([self.write(key, imported)], self.now_ms))

    @rule(key=KEYS)
    def lose_a_race(self, key: bytes) -> None:
        self.do(self.store.commit([Write(key, b"\xff" * 8, self.live(10))], self.now_ms))

    @rule(seconds=st.integers(1, 4), limit=st.integers(1, 9))
    def wait_and_sweep(self, seconds: int, limit: int) -> None:
        self.now_ms += seconds * 1000
        self.do(self.store.sweep(self.now_ms, limit))

    @invariant()
    def a_recount_gives_the_counters(self) -> None:
        records = self.do(held(self.store))
        counted = self.do(counters(self.store))
        assert counted == count(list(records.values()))
        bounds = LIMITS.tombstones
        assert counted.sessions <= LIMITS.max_sessions and counted.bytes <= LIMITS.max_bytes
        assert counted.tombstones <= bounds.records and counted.tombstone_bytes <= bounds.num_bytes
        for tenant in TENANTS:
            own = count([record for key, record in records.items() if tenant_of(key) == tenant])
            if not tenant:  # its live sessions have no bound of their own, and are not counted
                own = own._replace(sessions=0, bytes=0)
            assert self.do(counters_of(self.store, tenant))[0 if tenant else 2 :] == own[0 if tenant else 2 :]


def test_the_counters_are_those_of_a_recount(create: Create) -> None:
    class Machine(CountingMachine):
        pass

    Machine.create = staticmethod(create)
    run_state_machine_as_test(Machine, settings=settings(max_examples=10, stateful_step_count=50))
