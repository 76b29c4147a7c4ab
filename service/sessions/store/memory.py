"""Sessions in this process's memory: for tests, and for those who can lose them."""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from itertools import islice

from service.sessions.store.base import Limits, Outcome, Stats, Write, is_expired, tenant_of, tombstone
from service.sessions.store.record import Record, Status


class MemoryStore:
    """Implements `Store`. Not shared between workers, gone with the process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._live: OrderedDict[bytes, tuple[Record, int]] = OrderedDict()  # longest idle first
        self._graves = _Graves(limits)
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
        return Stats(len(self._live), self._bytes, len(self._graves), self._graves.bytes)

    async def _write(self, write: Write, now_ms: int) -> Outcome:
        found = await self.get(write.key)
        if (found.revision if found else None) != write.expected:
            return Outcome.CONFLICT
        record = write.record
        size = len(record.pack()) if record is not None else 0
        if record is not None and record.is_live and self._is_over_quota(write, size):
            return Outcome.OVER_QUOTA
        if record is not None and not self._has_room(write.key, record, size, now_ms):
            return Outcome.FULL
        self._forget(write.key)
        if record is not None and record.is_live:
            self._live[write.key] = (record, size)
            self._count(write.key, 1, size)
        elif record is not None:
            self._graves.add(write.key, record, size)
        return Outcome.DONE

    def _is_over_quota(self, write: Write, size: int) -> bool:
        if write.quota is None:
            return False
        tenant, old = tenant_of(write.key), self._live[write.key][1] if write.key in self._live else 0
        if not old and self._tenant_sessions[tenant] >= write.quota.max_sessions:
            return True
        return size > old and self._tenant_bytes[tenant] - old + size > write.quota.max_bytes

    def _has_room(self, key: bytes, record: Record, size: int, now_ms: int) -> bool:
        """Whether the record fits, once others have been evicted for it."""
        if not record.is_live:
            return size <= self.limits.tombstone_bounds(tenant_of(key))[1]
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
        grave = tombstone(self._live[key][0], status, now_ms)
        self._forget(key)
        self._graves.add(key, grave, len(grave.pack()))

    def _forget(self, key: bytes) -> None:
        _, size = self._live.pop(key, (None, 0))
        if size:
            self._count(key, -1, -size)
        self._graves.remove(key)

    def _count(self, key: bytes, sessions: int, size: int) -> None:
        self._bytes += size
        self._tenant_sessions[tenant_of(key)] += sessions
        self._tenant_bytes[tenant_of(key)] += size


class _Graves:
    """The tombstones, within their bounds: of each tenant, then of all, the oldest go first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records: dict[bytes, tuple[Record, int]] = {}
        self._order: list[tuple[int, bytes]] = []  # time of death, key
        self._of_tenant: defaultdict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        self._tenant_bytes: Counter[bytes] = Counter()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: bytes) -> Record | None:
        """The tombstone."""
        return self._records[key][0] if key in self._records else None

    def add(self, key: bytes, record: Record, size: int) -> None:
        """Bury one, and forget the oldest for whom there is no room any more."""
        tenant = tenant_of(key)
        self._records[key] = (record, size)
        for order in (self._order, self._of_tenant[tenant]):
            insort(order, (record.touched_ms, key))
        self._count(tenant, size)
        own, (number, most) = self._of_tenant[tenant], self._limits.tombstone_bounds(tenant)
        while len(own) > number or self._tenant_bytes[tenant] > most:
            self.remove(own[0][1])
        while len(self) > self._limits.max_tombstones or self.bytes > self._limits.max_tombstone_bytes:
            self.remove(self._order[0][1])

    def remove(self, key: bytes) -> None:
        """Forget one, if it is there."""
        record, size = self._records.pop(key, (None, 0))
        if record is not None:
            for order in (self._order, self._of_tenant[tenant_of(key)]):
                del order[bisect_left(order, (record.touched_ms, key))]
            self._count(tenant_of(key), -size)

    def _count(self, tenant: bytes, size: int) -> None:
        self.bytes += size
        self._tenant_bytes[tenant] += size
