"""The interface between the rules of sessions and the places that store them.

A store knows records, revisions and bounds; it knows nothing of models, requests or retries.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from service.errors import CorruptRecord
from service.sessions.store.record import Record, Status
from service.sessions.store.room import Quota, Usage

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """The result of one write. It does not affect the other writes of the same commit."""

    DONE = "done"
    CONFLICT = "conflict"  # the key holds another revision: nothing was applied
    FULL = "full"  # no room, and no session idle long enough to be evicted: nothing was applied
    OVER_QUOTA = "over quota"  # the tenant is at its quota: nothing was applied


@dataclass(slots=True)  # not frozen, for speed
class Write:
    """Put `record` (None: delete) if the key still holds the expected revision (None: nothing)."""

    key: bytes
    expected: bytes | None
    record: Record | None
    quota: Quota | None = None  # of the key's tenant


class Store(Protocol):
    """Holds records by key. Raises StoreUnavailable when the storage itself does not answer."""

    num_evicted: int  # sessions that commits of this process have evicted

    async def usage(self) -> Usage:
        """The live sessions and their bytes, as the store counts them: cheap, however many there are."""

    async def open(self) -> None:
        """Connect or create. Raises StartupError when that cannot work."""

    async def close(self) -> None:
        """Release files and connections; what was committed stays."""

    async def check(self) -> None:
        """Raises StoreUnavailable when no commit could work now."""

    async def get(self, key: bytes) -> Record | None:
        """The record, live or tombstone, as last committed. Raises CorruptRecord if it was damaged since."""

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, in one transaction, each by compare-and-set on the revision."""

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Up to `limit` live records with that prefix and a key greater than `after`, in order of key.

        A damaged record is left out, and the stored reply of each: replies can be large, and all of a page
        are in memory. The work does not depend on the number of tombstones.
        """

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Replace up to `limit` expired sessions with tombstones; return how many."""


def tenant_of(key: bytes) -> bytes:
    """The tenant that owns the session: the key up to NUL. Empty where there are no tenants."""
    return key.partition(b"\0")[0]


def tombstone(record: Record, status: Status, now_ms: int) -> Record:
    """What remains of a session: why and when it ended, and at which step; no state."""
    return replace(
        record, status=status, touched_ms=now_ms, state=b"", reply=b"", digest=bytes(16), history=None
    )


def is_expired(record: Record, now_ms: int) -> bool:
    """Whether a live session has been idle for longer than its TTL."""
    return record.is_live and now_ms - record.touched_ms > record.ttl_ms


def unpack_live(packed: Iterable[tuple[bytes, bytes]], limit: int) -> list[tuple[bytes, Record]]:
    """The first `limit` live records without their replies; one warning counts all damaged ones."""
    live: list[tuple[bytes, Record]] = []
    damaged: list[bytes] = []
    for key, value in packed:
        try:
            record = Record.unpack(value, key)
        except CorruptRecord:
            damaged.append(key)
            continue
        if record.is_live:
            record.reply = b""
            live.append((key, record))
            if len(live) == limit:
                break
    if damaged:
        logger.warning("left out of a list: %d damaged sessions, the first %r", len(damaged), damaged[0])
    return live
