"""Sessions in the memory of this process: for tests, and for servers that may lose their sessions."""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from service.sessions.store import room
from service.sessions.store.base import Outcome, Write, is_expired, tenant_of, tombstone
from service.sessions.store.record import Record, Status
from service.sessions.store.room import Limits, Usage


class MemoryStore:
    """Implements `Store`. Not shared between workers; lost when the process ends."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._live: OrderedDict[bytes, tuple[Record, int]] = OrderedDict()  # longest idle first
        self._tombstones = _Tombstones(limits)
        self._bytes = 0
        self.num_evicted = 0
        self._tenant_sessions: Counter[bytes] = Counter()
        self._tenant_bytes: Counter[bytes] = Counter()

    async def open(self) -> None:
        """Does nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Does nothing: there is nothing to release."""

    async def check(self) -> None:
        """Memory is always available."""

    async def usage(self) -> Usage:
        """The live sessions and their bytes."""
        return self.live_usage()

    async def get(self, key: bytes) -> Record | None:
        """The record, live or tombstone."""
        return self._live[key][0] if key in self._live else self._tombstones.get(key)

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, each by compare-and-set."""
        return [await self._write(write, now_ms) for write in writes]

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key."""
        keys = sorted(key for key in self._live if key.startswith(prefix) and key > after)
        return [(key, replace(self._live[key][0], reply=b"")) for key in keys[:limit]]

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Replace expired sessions with tombstones, longest idle first."""
        all_expired = (key for key, (record, _) in self._live.items() if is_expired(record, now_ms))
        expired = list(islice(all_expired, limit))
        for key in expired:
            self._end(key, Status.EXPIRED, now_ms)
        return len(expired)

    def live_usage(self) -> Usage:
        """The number of live sessions and their bytes."""
        return Usage(len(self._live), self._bytes)

    def tombstone_usage(self) -> Usage:
        """The number of tombstones and their bytes."""
        return self._tombstones.usage()

    async def _write(self, write: Write, now_ms: int) -> Outcome:
        existing = await self.get(write.key)
        if (existing.revision if existing else None) != write.expected:
            return Outcome.CONFLICT
        record = write.record
        size = len(record.pack(write.key)) if record is not None else 0
        if record is not None and record.is_live and self._is_over_quota(write, size):
            return Outcome.OVER_QUOTA
        if record is not None and not self._make_room(write.key, record, size, now_ms):
            return Outcome.FULL
        self._remove(write.key)
        if record is not None and record.is_live:
            self._live[write.key] = (record, size)
            self._count(write.key, 1, size)
        elif record is not None:
            self._tombstones.add(write.key, record, size)
        return Outcome.DONE

    def _live_size(self, key: bytes) -> int:
        return self._live[key][1] if key in self._live else 0

    def _is_over_quota(self, write: Write, size: int) -> bool:
        if write.quota is None:
            return False
        tenant = tenant_of(write.key)
        usage = Usage(self._tenant_sessions[tenant], self._tenant_bytes[tenant])
        return room.is_over_quota(write.quota, usage, old_size=self._live_size(write.key), new_size=size)

    def _make_room(self, key: bytes, record: Record, size: int, now_ms: int) -> bool:
        """Evict others until the record fits; whether it does."""
        if not record.is_live:
            return room.has_room_for_tombstone(self.limits, tenant_of(key), size)
        old_size = self._live_size(key)
        while size > old_size and not room.has_room(
            self.limits, self.live_usage(), old_size=old_size, new_size=size
        ):
            victim = self._find_victim(key, old_size, size, now_ms)
            if victim is None:
                return False
            self._end(victim, Status.EVICTED, now_ms)
            self.num_evicted += 1
        return True

    def _find_victim(self, key: bytes, old_size: int, new_size: int, now_ms: int) -> bytes | None:
        """The longest idle session of the first tenant that can lose one."""
        usages = {
            tenant: Usage(number, self._tenant_bytes[tenant])
            for tenant, number in self._tenant_sessions.items()
        }
        for tenant in room.tenants_to_evict_from(
            self.limits, usages, tenant_of(key), old_size=old_size, new_size=new_size
        ):
            own = (other for other in self._live if other != key and tenant_of(other) == tenant)
            oldest = next(own, None)
            if oldest and room.can_evict(self.limits, self._live[oldest][0].touched_ms, now_ms):
                return oldest
        return None

    def _end(self, key: bytes, status: Status, now_ms: int) -> None:
        """Replace a live record with a tombstone."""
        record = tombstone(self._live[key][0], status, now_ms)
        self._remove(key)
        self._tombstones.add(key, record, len(record.pack(key)))

    def _remove(self, key: bytes) -> None:
        _, size = self._live.pop(key, (None, 0))
        if size:
            self._count(key, -1, -size)
        self._tombstones.remove(key)

    def _count(self, key: bytes, sessions: int, size: int) -> None:
        self._bytes += size
        self._tenant_sessions[tenant_of(key)] += sessions
        self._tenant_bytes[tenant_of(key)] += size


class _Tombstones:
    """The tombstones within their bounds, those of each tenant and all together; the oldest are dropped."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._records: dict[bytes, tuple[Record, int]] = {}
        self._order: list[tuple[int, bytes]] = []  # time of death, key
        self._of_tenant: defaultdict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        self._tenant_bytes: Counter[bytes] = Counter()
        self._bytes = 0

    def usage(self) -> Usage:
        """All of them."""
        return Usage(len(self._records), self._bytes)

    def get(self, key: bytes) -> Record | None:
        """The tombstone of a session."""
        return self._records[key][0] if key in self._records else None

    def add(self, key: bytes, record: Record, size: int) -> None:
        """Add one, and drop the oldest ones over the bounds."""
        tenant = tenant_of(key)
        self._records[key] = (record, size)
        for order in (self._order, self._of_tenant[tenant]):
            insort(order, (record.touched_ms, key))
        self._count(tenant, size)
        own, bounds = self._of_tenant[tenant], self._limits.tombstones_of(tenant)
        while Usage(len(own), self._tenant_bytes[tenant]).exceeds(bounds):
            self.remove(own[0][1])
        while self.usage().exceeds(self._limits.tombstones):
            self.remove(self._order[0][1])

    def remove(self, key: bytes) -> None:
        """Remove one, if it is there."""
        record, size = self._records.pop(key, (None, 0))
        if record is not None:
            for order in (self._order, self._of_tenant[tenant_of(key)]):
                del order[bisect_left(order, (record.touched_ms, key))]
            self._count(tenant_of(key), -size)

    def _count(self, tenant: bytes, size: int) -> None:
        self._bytes += size
        self._tenant_bytes[tenant] += size
