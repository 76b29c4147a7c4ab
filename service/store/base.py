"""The seam between the rules of sessions and the places that hold them.

A store knows records, revisions and bounds; it knows nothing of models, requests or retries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from service.store.record import Record, Status


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
    """Bounds a store keeps. A new session evicts the longest idle one, if that was idle `min_idle_ms`."""

    max_sessions: int = 1_000_000
    max_bytes: int = 8 << 30
    min_idle_ms: int = 60_000
    max_tombstones: int = 100_000


@dataclass(slots=True, frozen=True)
class Stats:
    """How full a store is."""

    sessions: int
    bytes: int
    tombstones: int


class Store(Protocol):
    """Holds records by key. Raises StoreUnavailable when the place itself does not answer."""

    async def open(self) -> None:
        """Connect or create. Raises StartupError when that cannot work."""

    async def close(self) -> None:
        """Let go of files and connections; what was committed stays."""

    async def check(self) -> None:
        """Raises StoreUnavailable when a commit could not work now, whatever it holds."""

    async def get(self, key: bytes) -> Record | None:
        """The record, live or tombstone, as last committed."""

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction, each by compare-and-set on the revision."""

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Up to `limit` live records with that prefix and a key greater than `after`, in order of key."""

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
