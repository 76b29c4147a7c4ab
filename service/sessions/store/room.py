"""How much a store may hold: bounds on live sessions, on those of one tenant, and on tombstones.

Pure rules over the numbers that a store counts. They know no records and no storage. Redis applies the same
rules in Lua (`redis_scripts.py`); the tests in `test_stores.py` hold all stores to them.
"""

from collections.abc import Mapping
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
    """Bounds of a store. A new session evicts another that was idle for `min_idle_ms`.

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


def tenants_to_evict_from(
    limits: Limits, usages: Mapping[bytes, Usage], writer: bytes, *, old_size: int, new_size: int
) -> list[bytes]:
    """The tenants that may lose a session to a write for which there is no room, in order.

    `usages`: of the live sessions of each tenant. A tenant's fair share is the capacity divided by the number
    of tenants with sessions. Those above it come in order of what they hold, the largest first. The writer
    comes as large as it would be, before its equals, and may always lose its own. So a tenant within its
    share loses nothing to others. The work grows with the number of tenants, not of sessions.
    """
    own = usages.get(writer, Usage(0, 0))
    after = {tenant: usage for tenant, usage in usages.items() if usage.records}
    after[writer] = Usage(own.records + (not old_size), own.num_bytes - old_size + new_size)
    total = Usage(sum([u.records for u in after.values()]), sum([u.num_bytes for u in after.values()]))
    if total.records > limits.max_sessions and not old_size:
        held, capacity = {tenant: usage.records for tenant, usage in after.items()}, limits.max_sessions
    else:
        held = {tenant: usage.num_bytes for tenant, usage in after.items()}
        capacity = min(limits.max_bytes, total.num_bytes - 1)  # less where the storage itself is short
    chosen = [tenant for tenant in held if tenant == writer or held[tenant] * len(held) > capacity]
    return sorted(chosen, key=lambda tenant: (-held[tenant], tenant != writer, tenant))


def can_evict(limits: Limits, touched_ms: int, now_ms: int) -> bool:
    """Whether a session that was last used at `touched_ms` has been idle long enough to be evicted."""
    return now_ms - touched_ms >= limits.min_idle_ms


def has_room_for_tombstone(limits: Limits, tenant: bytes, size: int) -> bool:
    """Whether a tombstone can be stored, once all others of its tenant have been dropped."""
    return size <= limits.tombstones_of(tenant).num_bytes
