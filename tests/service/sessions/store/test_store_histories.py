"""Any history of commits and sweeps, on every store, agrees with a dict."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.sessions.store import Limits, Outcome, Quota, Record, Status, Write
from service.sessions.store.base import tenant_of, tombstone
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.room import Usage, tenants_to_evict_from
from tests.service.sessions.store.records import Create, counters, size_of


class StoreMachine(RuleBasedStateMachine):
    """Any history of commits, against a dict.

    Time passes by whole seconds, since LMDB orders idle sessions by the second, and at every write, since the
    order of two sessions touched at the same time is not defined.
    """

    create: Create
    LIMITS = Limits(max_sessions=4, max_bytes=4800, min_idle_ms=5_000, max_tombstones=1000)
    QUOTA = Quota(max_sessions=3, max_bytes=900)  # of tenant a
    ALL = [b"a\0%d" % i for i in range(4)] + [b"b\0%d" % i for i in range(3)]
    KEYS = st.sampled_from(ALL)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.create(self.LIMITS)
        self.do(self.store.open())
        self.model: dict[bytes, Record] = {}
        self.now_ms = 0
        self.revisions = itertools.count(1)

    def do(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()

    def live(self) -> dict[bytes, Record]:
        return {key: record for key, record in self.model.items() if record.is_live}

    @rule(key=KEYS, size=st.integers(0, 300), ttl_s=st.integers(1, 20), is_stale=st.booleans())
    def write(self, key: bytes, size: int, ttl_s: int, is_stale: bool) -> None:
        self.put(key, self.record(Status.LIVE, ttl_s, state=bytes(size)), is_stale)

    @rule(key=KEYS, size=st.integers(0, 600), is_stale=st.booleans())
    def end(self, key: bytes, size: int, is_stale: bool) -> None:
        self.put(key, self.record(Status.ENDED, 1, reply=bytes(size)), is_stale)

    def record(self, status: Status, ttl_s: int, *, state: bytes = b"", reply: bytes = b"") -> Record:
        self.now_ms += 1000
        return Record(
            status, "m", "1", b"graph678", next(self.revisions).to_bytes(8), 1, 0, self.now_ms,
            ttl_s * 1000, state, reply=reply,
        )  # fmt: skip

    def put(self, key: bytes, new: Record, is_stale: bool) -> None:
        old = self.model.get(key)
        expected = b"\xff" * 8 if is_stale else old.revision if old else None
        quota = self.QUOTA if key.startswith(b"a") else None
        outcome = self.do(self.store.commit([Write(key, expected, new, quota)], self.now_ms))[0]
        assert outcome is self.expect(key, new, is_stale)

    def expect(self, key: bytes, new: Record, is_stale: bool) -> Outcome:
        if is_stale:
            return Outcome.CONFLICT
        if not new.is_live:
            if size_of(new) > self.LIMITS.tombstones_of(b"a").num_bytes:
                return Outcome.FULL
            self.model[key] = new
            self.drop_the_oldest()
            return Outcome.DONE
        if key.startswith(b"a") and self.is_over_quota(key, new):
            return Outcome.OVER_QUOTA
        if key not in self.live() and len(self.live()) >= self.LIMITS.max_sessions:
            oldest = self.find_victim(key, new)
            if oldest is None:
                return Outcome.FULL
            self.end_session(oldest, Status.EVICTED)
        self.model[key] = new
        return Outcome.DONE

    def find_victim(self, key: bytes, new: Record) -> bytes | None:
        usages = {}
        for tenant in {tenant_of(k) for k in self.live()}:
            sizes = [size_of(r) for k, r in self.live().items() if tenant_of(k) == tenant]
            usages[tenant] = Usage(len(sizes), sum(sizes))
        for tenant in tenants_to_evict_from(
            self.LIMITS, usages, tenant_of(key), old_size=0, new_size=size_of(new)
        ):
            own = {k: r.touched_ms for k, r in self.live().items() if tenant_of(k) == tenant}
            oldest = min(own, key=lambda k: (own[k] // 1000, k), default=None)
            if oldest is not None and self.now_ms - own[oldest] >= self.LIMITS.min_idle_ms:
                return oldest
        return None

    def is_over_quota(self, key: bytes, new: Record) -> bool:
        sizes = {k: size_of(r) for k, r in self.live().items() if k.startswith(b"a")}
        old, size = sizes.pop(key, 0), size_of(new)
        if not old and len(sizes) >= self.QUOTA.max_sessions:
            return True
        return size > old and sum(sizes.values()) + size > self.QUOTA.max_bytes

    def end_session(self, key: bytes, status: Status) -> None:
        self.model[key] = tombstone(self.model[key], status, self.now_ms)
        self.drop_the_oldest()

    def drop_the_oldest(self) -> None:
        """Of each tenant, while it is over its bound; then the two together are within theirs."""
        for tenant in (b"a", b"b"):
            tombstones = {k: r for k, r in self.model.items() if not r.is_live and tenant_of(k) == tenant}
            while sum(size_of(r) for r in tombstones.values()) > self.LIMITS.tombstones_of(tenant).num_bytes:
                oldest = min(tombstones, key=lambda k: (tombstones[k].touched_ms, k))
                del tombstones[oldest], self.model[oldest]

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        old = self.model.pop(key, None)
        outcome = self.do(self.store.commit([Write(key, old.revision if old else None, None)], self.now_ms))[
            0
        ]
        assert outcome is Outcome.DONE

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @rule()
    def sweep(self) -> None:
        expired = [k for k, r in self.live().items() if self.now_ms - r.touched_ms > r.ttl_ms]
        while self.do(self.store.sweep(self.now_ms, 2)):
            pass
        for key in expired:
            self.end_session(key, Status.EXPIRED)

    @precondition(lambda self: isinstance(self.store, LmdbStore))
    @rule()
    def reopen(self) -> None:
        assert isinstance(self.store, LmdbStore)
        self.do(self.store.close())
        self.store = LmdbStore(self.store.directory, self.LIMITS)
        self.do(self.store.open())

    @invariant()
    def every_record_and_total_agrees_with_the_dict(self) -> None:
        for key in self.ALL:
            assert self.do(self.store.get(key)) == self.model.get(key)
        for prefix in (b"a\0", b"b\0"):
            page = self.do(self.store.scan(prefix, b"", 99))
            live = {key: replace(found, reply=b"") for key, found in self.live().items()}
            assert dict(page) == {key: found for key, found in live.items() if key.startswith(prefix)}
        stats = self.do(counters(self.store))
        assert stats.sessions == len(self.live())
        assert stats.bytes == sum(size_of(record) for record in self.live().values())
        assert stats.tombstones == len(self.model) - len(self.live())
        assert stats.tombstone_bytes == sum(size_of(r) for r in self.model.values() if not r.is_live)


def test_any_history_agrees_with_a_dict(create: Create) -> None:
    class Machine(StoreMachine):
        pass

    Machine.create = staticmethod(create)
    run_state_machine_as_test(Machine, settings=settings(max_examples=25, stateful_step_count=30))
