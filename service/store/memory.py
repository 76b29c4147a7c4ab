"""Sessions in this process's memory: for tests, and for those who can lose them."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import islice

from service.store.base import Limits, Outcome, Stats, Write, is_expired, tenant_of, tombstone
from service.store.record import Record, Status


class MemoryStore:
    """Implements `Store`. Not shared between workers, gone with the process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._live: OrderedDict[bytes, tuple[Record, int]] = OrderedDict()  # longest idle first
        self._graves: OrderedDict[bytes, Record] = OrderedDict()
        self._bytes = 0
        self._tenant_sessions: Counter[bytes] = Counter()
        self._tenant_bytes: Counter[bytes] = Counter()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def check(self) -> None:
        """Memory is always there."""

    async def get(self, key: bytes) -> Record | None:
        """The record, live or tombstone."""
        return self._live[key][0] if key in self._live else self._graves.get(key)

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, each by compare-and-set."""
        return [await self._write(write, now_ms) for write in writes]

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key."""
        keys = sorted(key for key in self._live if key.startswith(prefix) and key > after)
        return [(key, self._live[key][0]) for key in keys[:limit]]

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Bury the expired, longest idle first."""
        found = (key for key, (record, _) in self._live.items() if is_expired(record, now_ms))
        expired = list(islice(found, limit))
        for key in expired:
            self._bury(key, Status.EXPIRED, now_ms)
        return len(expired)

    async def stats(self) -> Stats:
        """How full the store is."""
        return Stats(len(self._live), self._bytes, len(self._graves))

    async def _write(self, write: Write, now_ms: int) -> Outcome:
        found = await self.get(write.key)
        if (found.revision if found else None) != write.expected:
            return Outcome.CONFLICT
        record = write.record
        size = len(record.pack()) if record is not None and record.is_live else 0
        if size and self._is_over_quota(write, size):
            return Outcome.OVER_QUOTA
        if size and not self._make_room(write.key, size, now_ms):
            return Outcome.FULL
        self._forget(write.key)
        if record is not None and record.is_live:
            self._live[write.key] = (record, size)
            self._count(write.key, 1, size)
        elif record is not None:
            self._add_grave(write.key, record)
        return Outcome.DONE

    def _is_over_quota(self, write: Write, size: int) -> bool:
        if write.quota is None:
            return False
        tenant, old = tenant_of(write.key), self._live[write.key][1] if write.key in self._live else 0
        if not old and self._tenant_sessions[tenant] >= write.quota.max_sessions:
            return True
        return size > old and self._tenant_bytes[tenant] - old + size > write.quota.max_bytes

    def _make_room(self, key: bytes, size: int, now_ms: int) -> bool:
        old = self._live[key][1] if key in self._live else 0
        count = len(self._live) + (0 if old else 1)
        while count > self.limits.max_sessions or self._bytes - old + size > self.limits.max_bytes:
            oldest = next((other for other in self._live if other != key), None)
            if oldest is None or now_ms - self._live[oldest][0].touched_ms < self.limits.min_idle_ms:
                return False
            self._bury(oldest, Status.EVICTED, now_ms)
            count -= 1
        return True

    def _bury(self, key: bytes, status: Status, now_ms: int) -> None:
        record = self._live[key][0]
        self._forget(key)
        self._add_grave(key, tombstone(record, status, now_ms))

    def _add_grave(self, key: bytes, record: Record) -> None:
        self._graves[key] = record
        while len(self._graves) > self.limits.max_tombstones:
            self._graves.popitem(last=False)

    def _forget(self, key: bytes) -> None:
        _, size = self._live.pop(key, (None, 0))
        if size:
            self._count(key, -1, -size)
        self._graves.pop(key, None)

    def _count(self, key: bytes, sessions: int, size: int) -> None:
        self._bytes += size
        self._tenant_sessions[tenant_of(key)] += sessions
        self._tenant_bytes[tenant_of(key)] += size
