"""The seam between the rules of sessions and the places that hold them.

A store knows records, revisions and bounds; it knows nothing of models, requests or retries.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from service.errors import CorruptRecord
from service.sessions.store.record import Record, Status

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of one write; the other writes of the same commit are not affected."""

    DONE = "done"
    CONFLICT = "conflict"  # somebody else wrote first: nothing was applied
    FULL = "full"  # no room, and no session idle long enough to be evicted: nothing was applied
    OVER_QUOTA = "over quota"  # its tenant has as much as it may: nothing was applied


@dataclass(slots=True, frozen=True)
class Quota:
    """Bounds on the live sessions of one tenant: those whose keys begin alike, up to NUL."""

    max_sessions: int
    max_bytes: int


@dataclass(slots=True)  # not frozen, for speed
class Write:
    """Put `record` (None: delete) if the key still holds the revision the writer saw (None: nothing)."""

    key: bytes
    expected: bytes | None
    record: Record | None
    quota: Quota | None = None  # of the key's tenant


@dataclass(slots=True, frozen=True)
class Limits:
    """Bounds a store keeps. A new session evicts the longest idle one, if that was idle `min_idle_ms`.

    Tombstones have room of their own, so that they and live sessions never push each other out: all in all a
    store holds `max_bytes` of the living and that share of it again of the dead, of whom the oldest go first.
    """

    max_sessions: int = 1_000_000
    max_bytes: int = 8 << 30  # of live records
    min_idle_ms: int = 60_000
    max_tombstones: int = 100_000
    tombstone_share: float = 0.25  # an ended session keeps its last reply, which may be long

    @property
    def max_tombstone_bytes(self) -> int:
        """Most bytes of all tombstones."""
        return int(self.max_bytes * self.tombstone_share)

    def tombstone_bounds(self, tenant: bytes) -> tuple[int, int]:
        """Most tombstones, and bytes of them, of one tenant: half, so that it cannot push out all others'."""
        if not tenant:  # there are no tenants
            return self.max_tombstones, self.max_tombstone_bytes
        return -(-self.max_tombstones // 2), -(-self.max_tombstone_bytes // 2)

    def part(self, shards: int) -> "Limits":
        """Those of one shard of several."""
        return replace(
            self,
            max_sessions=-(-self.max_sessions // shards),
            max_bytes=-(-self.max_bytes // shards),
            max_tombstones=self.max_tombstones // shards,
        )


@dataclass(slots=True, frozen=True)
class Stats:
    """How full a store is."""

    sessions: int
    bytes: int  # of live records
    tombstones: int
    tombstone_bytes: int


class Store(Protocol):
    """Holds records by key. Raises StoreUnavailable when the place itself does not answer."""

    async def open(self) -> None:
        """Connect or create. Raises StartupError when that cannot work."""

    async def close(self) -> None:
        """Let go of files and connections; what was committed stays."""

    async def check(self) -> None:
        """Raises StoreUnavailable when a commit could not work now, whatever it holds."""

    async def get(self, key: bytes) -> Record | None:
        """The record, live or tombstone, as last committed. Raises CorruptRecord if it was damaged since."""

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction, each by compare-and-set on the revision."""

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Up to `limit` live records with that prefix and a key greater than `after`, in order of key.

        A damaged one is left out. The work does not depend on how many tombstones there are.
        """

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Turn up to `limit` expired sessions into tombstones; return how many."""

    async def stats(self) -> Stats:
        """How full the store is."""


def tenant_of(key: bytes) -> bytes:
    """Whose session it is; empty where there are no tenants."""
    return key.partition(b"\0")[0]


def tombstone(record: Record, status: Status, now_ms: int) -> Record:
    """What stays of a session: why and when it went, and at which step; no state."""
    return replace(record, status=status, touched_ms=now_ms, state=b"", reply=b"", digest=bytes(16))


def is_expired(record: Record, now_ms: int) -> bool:
    """Whether a live session has been idle for longer than it may be."""
    return record.is_live and now_ms - record.touched_ms > record.ttl_ms


def take_live(packed: Iterable[tuple[bytes, bytes]], limit: int) -> list[tuple[bytes, Record]]:
    """The first `limit` live records of those, unpacked; one warning tells of all that were damaged."""
    found: list[tuple[bytes, Record]] = []
    damaged: list[bytes] = []
    for key, value in packed:
        try:
            record = Record.unpack(value)
        except CorruptRecord:
            damaged.append(key)
            continue
        if record.is_live:
            found.append((key, record))
            if len(found) == limit:
                break
    if damaged:
        logger.warning("left out of a list: %d damaged sessions, the first %r", len(damaged), damaged[0])
    return found
