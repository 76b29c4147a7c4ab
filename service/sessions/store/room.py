"""How much a store may hold: bounds on live sessions, on those of one tenant, and on tombstones.

Pure rules over the numbers that a store counts. They know no records and no storage. Redis applies the same
rules in Lua (`redis_scripts.py`); the tests in `test_stores.py` hold all stores to them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple


class Usage(NamedTuple):
    """A number of records and the sum of their sizes; or the bounds on the two."""

    records: int
    num_bytes: int

    def exceeds(self, bounds: "Usage") -> bool:
        """Whether there are more records, or more bytes, than `bounds`."""
        return self.records > bounds.records or self.num_bytes > bounds.num_bytes


@dataclass(slots=True, frozen=True)
class Quota:
    """Bounds on the live sessions of one tenant."""

    max_sessions: int
    max_bytes: int


@dataclass(slots=True, frozen=True)
class Limits:
    """Bounds of a store. A new session evicts the longest idle one, if that was idle for `min_idle_ms`.

    Tombstones have their own limit, so that they and live sessions never evict each other. A store holds at
    most `max_bytes` of live sessions and `tombstone_share` times as much of tombstones; the oldest tombstones
    are dropped first.
    """

    max_sessions: int = 1_000_000
    max_bytes: int = 8 << 30  # of live records
    min_idle_ms: int = 60_000
    max_tombstones: int = 100_000
    tombstone_share: float = 0.25  # an ended session keeps its last reply, which may be long

    @property
    def tombstones(self) -> Usage:
        """The bounds on all tombstones."""
        return Usage(self.max_tombstones, int(self.max_bytes * self.tombstone_share))

    def tombstones_of(self, tenant: bytes) -> Usage:
        """The bounds on one tenant's tombstones: half of all, so that it cannot push out all others'."""
        bounds = self.tombstones
        if not tenant:  # there are no tenants
            return bounds
        return Usage(-(-bounds.records // 2), -(-bounds.num_bytes // 2))

    def part(self, shards: int) -> "Limits":
        """The limits of one shard of several."""
        return replace(
            self,
            max_sessions=-(-self.max_sessions // shards),
            max_bytes=-(-self.max_bytes // shards),
            max_tombstones=self.max_tombstones // shards,
        )


# Below, `old_size` is the size of the live record to be replaced, 0 if there is none.


def is_over_quota(quota: Quota, usage: Usage, *, old_size: int, new_size: int) -> bool:
    """Whether a live record would take a tenant with that usage over its quota."""
    if not old_size and usage.records >= quota.max_sessions:
        return True
    return new_size > old_size and usage.num_bytes - old_size + new_size > quota.max_bytes


def has_room(limits: Limits, usage: Usage, *, old_size: int, new_size: int) -> bool:
    """Whether a live record that is new, or larger than the old one, fits without an eviction."""
    if not old_size and usage.records >= limits.max_sessions:
        return False
    return usage.num_bytes - old_size + new_size <= limits.max_bytes


def can_evict(limits: Limits, touched_ms: int, now_ms: int) -> bool:
    """Whether a session that was last used at `touched_ms` has been idle long enough to be evicted."""
    return now_ms - touched_ms >= limits.min_idle_ms


def has_room_for_tombstone(limits: Limits, tenant: bytes, size: int) -> bool:
    """Whether a tombstone can be stored, once all others of its tenant have been dropped."""
    return size <= limits.tombstones_of(tenant).num_bytes
