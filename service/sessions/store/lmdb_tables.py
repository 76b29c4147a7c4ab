"""The tables of an LMDB store: what follows from a change of one record, inside a transaction.

They know nothing of transactions, disks or who may write.

    records   key → record, live sessions and tombstones alike
    names     key → nothing                          live sessions, in order of key, for lists
    idle      second last touched, key → nothing     live sessions, longest idle first
    expiry    second of expiry, key → nothing        live sessions, first to expire first
    graves    millisecond of death, key → nothing    tombstones, oldest first
    plots     tenant, NUL, millisecond of death, rest of the key → nothing    the same, each tenant's together
    totals    "bytes", "graves" → sum of the sizes of all live records, of all tombstones
              tenant, NUL → how many live sessions it has, and the sum of their sizes
              tenant, NUL, "graves" → how many tombstones it has, and the sum of their sizes

A damaged record (a bit differs) may stand where its head no longer says. Walks along an index therefore trust
the index: they bury what is damaged, and remove entries that no record agrees with.
"""

import logging
import struct
from collections.abc import Iterator
from typing import TypeAlias

import lmdb

from service.errors import CorruptRecord
from service.sessions.store.base import Limits, tenant_of, tombstone
from service.sessions.store.record import Head, Record, Status

logger = logging.getLogger(__name__)

Txn: TypeAlias = "lmdb.Transaction[bytes]"  # it gives copies, not views

_NAMES = (b"records", b"names", b"idle", b"expiry", b"graves", b"plots", b"totals")
NUM_TABLES = len(_NAMES)
_TIME = struct.Struct(">Q")
_BYTES, _GRAVES = b"bytes", b"graves"
_TENANT = struct.Struct(">QQ")  # records, bytes
_TRIAL = b"\0"  # no session is called that


class Tables:
    """All tables of one environment. Every method runs in the transaction it is given."""

    def __init__(self, env: lmdb.Environment, limits: Limits) -> None:
        self._limits = limits
        self._all = [env.open_db(name) for name in _NAMES]
        self.records, self._names, self._idle, self._expiry, self._graves, self._plots, self._totals = (
            self._all
        )

    def head(self, txn: Txn, key: bytes) -> Head | None:
        """The head of a record."""
        packed = txn.get(key, db=self.records)
        return None if packed is None else Record.head(packed)

    def replace(self, txn: Txn, key: bytes, old: Head | None, new: Head | None, packed: bytes | None) -> None:
        """Put one record (None: nothing) in the place of another, and keep everything in step with it."""
        self._keep_in_step(txn, key, old, new)
        if packed is None:
            txn.delete(key, db=self.records)
        else:
            txn.put(key, packed, db=self.records)
        if new and not new.is_live:
            self._drop_oldest_graves(txn, tenant_of(key))

    def bury(self, txn: Txn, key: bytes, status: Status, now_ms: int) -> None:
        """Put its tombstone in the place of a live record."""
        packed = txn.get(key, b"", db=self.records)
        try:
            record = Record.unpack(packed)
        except CorruptRecord as error:
            logger.warning("the record of session %r was damaged; it is %s", key, status.name.lower())
            record = Record.unreadable(error, now_ms)
        grave = tombstone(record, status, now_ms).pack()
        self.replace(txn, key, Record.head(packed), Record.head(grave), grave)

    def live(self, txn: Txn, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and packed records of live sessions, in order of key."""
        with txn.cursor(self._names) as cursor:
            more = cursor.set_range(max(prefix, after))
            while more and (key := cursor.key()).startswith(prefix):
                packed = txn.get(key, db=self.records) if key > after else None
                if packed is not None:
                    yield key, packed
                more = cursor.next()

    def longest_idle(self, txn: Txn, but: bytes) -> tuple[bytes, int] | None:
        """The live session, other than `but`, that has been idle for longest, and since when."""
        return next((found for found in self._walk(txn, self._idle) if found[0] != but), None)

    def expired(self, txn: Txn, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` sessions that have been idle for longer than they may be, first to expire first."""
        expired: list[bytes] = []
        for key, expires_ms in self._walk(txn, self._expiry):
            if len(expired) == limit or expires_ms // 1000 > now_ms // 1000:
                break
            if expires_ms < now_ms:
                expired.append(key)
        return expired

    def num_live(self, txn: Txn) -> int:
        """How many sessions are live."""
        return int(txn.stat(self._names)["entries"])

    def num_graves(self, txn: Txn) -> int:
        """How many tombstones there are."""
        return int(txn.stat(self._graves)["entries"])

    def live_bytes(self, txn: Txn) -> int:
        """Sum of the sizes of all live records."""
        return self._total(txn, _BYTES)

    def grave_bytes(self, txn: Txn) -> int:
        """Sum of the sizes of all tombstones."""
        return self._total(txn, _GRAVES)

    def of_tenant(self, txn: Txn, tenant: bytes) -> tuple[int, int]:
        """How many live sessions a tenant has, and the sum of their sizes."""
        return self._pair(txn, tenant + b"\0")

    def num_pages(self, txn: Txn) -> int:
        """Pages of the map in use; those that were freed and those that only readers still hold are not."""
        stats = [txn.stat(table) for table in self._all]
        return sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)

    def try_all(self, txn: Txn) -> None:
        """Write into every table, as a commit would; to be aborted."""
        for table in self._all:
            txn.put(_TRIAL, b"", db=table)

    def bring_up_to_date(self, txn: Txn) -> None:
        """Build anew all that follows from the records, if an older version left some of it out."""
        entries = [txn.stat(t)["entries"] for t in (self._names, self._idle, self._plots, self._graves)]
        if entries[0] == entries[1] and entries[2] == entries[3]:
            return
        logger.info(
            "session store: building the indexes of %d records anew", txn.stat(self.records)["entries"]
        )
        for table in self._all[1:]:
            txn.drop(table, delete=False)
        tenants = set()
        with txn.cursor(self.records) as cursor:
            for key, packed in cursor:
                self._keep_in_step(txn, key, None, Record.head(packed))
                tenants.add(tenant_of(key))
        for tenant in tenants:
            self._drop_oldest_graves(txn, tenant)

    def _keep_in_step(self, txn: Txn, key: bytes, old: Head | None, new: Head | None) -> None:
        if not _stays(old, new):
            before, after = self._indexes_of(key, old), self._indexes_of(key, new)
            for index, entry in before:
                txn.delete(entry, db=index)
            for index, entry in after:
                txn.put(entry, b"", db=index)
        was, size = old.size if old and old.is_live else 0, new.size if new and new.is_live else 0
        if was != size:
            self._add(txn, _BYTES, size - was)
            born = bool(size) - bool(was)
            if born > 0:
                txn.put(key, b"", db=self._names)
            elif born < 0:
                txn.delete(key, db=self._names)
            if tenant := tenant_of(key):
                self._add_pair(txn, tenant + b"\0", born, size - was)
        if old and not old.is_live:
            self._count_grave(txn, key, -1, -old.size)
        if new and not new.is_live:
            self._count_grave(txn, key, 1, new.size)

    def _count_grave(self, txn: Txn, key: bytes, number: int, size: int) -> None:
        self._add(txn, _GRAVES, size)
        self._add_pair(txn, tenant_of(key) + b"\0" + _GRAVES, number, size)

    def _indexes_of(self, key: bytes, record: Head | None) -> list[tuple[lmdb._Database, bytes]]:
        if record is None:
            return []
        if not record.is_live:
            died = _TIME.pack(record.touched_ms)
            tenant, separator, name = key.partition(b"\0")
            return [(self._graves, died + key), (self._plots, tenant + separator + died + name)]
        # By the second, so that a busy session seldom moves in an index.
        expires_ms = record.touched_ms + record.ttl_ms
        return [
            (self._idle, _TIME.pack(record.touched_ms // 1000) + key),
            (self._expiry, _TIME.pack(expires_ms // 1000) + key),
        ]

    def _walk(self, txn: Txn, index: lmdb._Database) -> Iterator[tuple[bytes, int]]:
        """Keys of live records in order of `idle` or `expiry`, with the millisecond they lie there for."""
        with txn.cursor(index) as cursor:
            more = cursor.first()
            while more:
                entry = cursor.key()
                key = entry[_TIME.size :]
                packed = txn.get(key, db=self.records)
                head = None if packed is None else Record.head(packed)
                if head is not None and (index, entry) in self._indexes_of(key, head):
                    yield key, head.touched_ms + (head.ttl_ms if index is self._expiry else 0)
                elif packed is not None and _is_damaged(packed):
                    yield key, _TIME.unpack_from(entry)[0] * 1000
                else:
                    cursor.delete()
                    more = bool(cursor.key())
                    continue
                more = cursor.next()

    def _drop_oldest_graves(self, txn: Txn, tenant: bytes) -> None:
        """Until the tenant's, and then all, are within their bounds."""
        limits, prefix = self._limits, tenant + b"\0"
        number, most = limits.tombstone_bounds(tenant)
        while (own := self._pair(txn, prefix + _GRAVES)) and (own[0] > number or own[1] > most):
            if not self._drop_first(txn, self._plots, prefix):
                break
        while (
            self.num_graves(txn) > limits.max_tombstones or self.grave_bytes(txn) > limits.max_tombstone_bytes
        ):
            if not self._drop_first(txn, self._graves, b""):
                break

    def _drop_first(self, txn: Txn, index: lmdb._Database, prefix: bytes) -> bool:
        """Forget the first tombstone of `graves`, or of a tenant's in `plots`; whether there was one."""
        with txn.cursor(index) as cursor:
            if not cursor.set_range(prefix) or not (entry := cursor.key()).startswith(prefix):
                return False
            cursor.delete()
        key = prefix + entry[len(prefix) + _TIME.size :]
        head = self.head(txn, key)
        if head is not None and not head.is_live:
            self.replace(txn, key, head, None, None)
        return True

    def _total(self, txn: Txn, name: bytes) -> int:
        packed = txn.get(name, db=self._totals)
        return 0 if packed is None else int(_TIME.unpack(packed)[0])

    def _add(self, txn: Txn, name: bytes, grown: int) -> None:
        # Never below nothing: a damaged record may leave with another size than it came with.
        txn.put(name, _TIME.pack(max(0, self._total(txn, name) + grown)), db=self._totals)

    def _pair(self, txn: Txn, name: bytes) -> tuple[int, int]:
        packed = txn.get(name, db=self._totals)
        return (0, 0) if packed is None else _TENANT.unpack(packed)

    def _add_pair(self, txn: Txn, name: bytes, number: int, grown: int) -> None:
        was, total = self._pair(txn, name)
        txn.put(name, _TENANT.pack(max(0, was + number), max(0, total + grown)), db=self._totals)


def _stays(old: Head | None, new: Head | None) -> bool:
    """Whether a session that goes on stays where it is in both indexes: most do, within a second."""
    if old is None or new is None or not (old.is_live and new.is_live):
        return False
    is_as_idle = old.touched_ms // 1000 == new.touched_ms // 1000
    return is_as_idle and (old.touched_ms + old.ttl_ms) // 1000 == (new.touched_ms + new.ttl_ms) // 1000


def _is_damaged(packed: bytes) -> bool:
    try:
        Record.unpack(packed)
    except CorruptRecord:
        return True
    return False
