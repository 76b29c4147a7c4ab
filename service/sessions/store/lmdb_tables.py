"""The tables of an LMDB store: what a change of one record entails, inside a transaction.

They know nothing of transactions, disks or who may write.

    records   key → record, live sessions and tombstones
    names     key → nothing                          live sessions, in order of key, for lists
    idle      second last touched, key → nothing     live sessions, longest idle first
    expiry    second of expiry, key → nothing        live sessions, first to expire first
    graves    millisecond of the end, key → nothing  tombstones, oldest first
    plots     tenant, NUL, millisecond of the end, rest of the key → nothing    the same, grouped by tenant
    queues    tenant, NUL, second last touched, rest of the key → nothing      `idle`, grouped by tenant
    totals    "bytes", "graves" → sum of the sizes of all live records, of all tombstones
              tenant, NUL → number of its live sessions, and the sum of their sizes
              tenant, NUL, "graves" → number of its tombstones, and the sum of their sizes

"graves" (the tombstone index) and "plots" (the same by tenant) are names in stored files, so they stay.

The head of a damaged record (a bit differs) may disagree with the indexes. A walk along an index therefore
trusts the index: it replaces damaged records with tombstones, and removes entries without a record.
"""

import logging
import struct
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

import lmdb

from service.errors import CorruptRecord
from service.sessions.store.base import tenant_of, tombstone
from service.sessions.store.record import Head, Record, Status
from service.sessions.store.room import Limits, Usage

logger = logging.getLogger(__name__)

Txn: TypeAlias = "lmdb.Transaction[bytes]"  # it gives copies, not views

_TABLES = (b"records", b"names", b"idle", b"expiry", b"graves", b"plots", b"totals", b"queues")
NUM_TABLES = len(_TABLES)
_TIME = struct.Struct(">Q")
_LIVE_BYTES, _TOMBSTONES = b"bytes", b"graves"  # keys of `totals`
_USAGE = struct.Struct(">QQ")  # records, bytes
_MAX_WALKED = 1000  # sessions, to find one of a server without API keys beside those of tenants
_TEST_KEY = b"\0"  # no session has it: a name is never empty


class Tables:
    """All tables of one environment. Every method runs in the transaction it is given."""

    def __init__(self, env: lmdb.Environment, limits: Limits) -> None:
        self._limits = limits
        self._all = [env.open_db(name) for name in _TABLES]
        self.records, self._names, self._idle, self._expiry, *rest = self._all
        self._tombstones, self._tombstones_by_tenant, self._totals, self._queues = rest

    def head(self, txn: Txn, key: bytes) -> Head | None:
        """The head of a record."""
        packed = txn.get(key, db=self.records)
        return None if packed is None else Record.head(packed)

    def replace(self, txn: Txn, key: bytes, old: Head | None, new: Head | None, packed: bytes | None) -> None:
        """Put one record (None: nothing) in place of another, and update indexes and totals."""
        self._update_indexes(txn, key, old, new)
        if packed is None:
            txn.delete(key, db=self.records)
        else:
            txn.put(key, packed, db=self.records)
        if new and not new.is_live:
            self._drop_oldest_tombstones(txn, tenant_of(key))

    def end(self, txn: Txn, key: bytes, status: Status, now_ms: int) -> None:
        """Replace a live record with a tombstone."""
        packed = txn.get(key, b"", db=self.records)
        try:
            record = Record.unpack(packed, key)
        except CorruptRecord as error:
            logger.warning(
                "the record of session %r was damaged; the session is now %s", key, status.name.lower()
            )
            record = Record.unreadable(error, now_ms)
        new = tombstone(record, status, now_ms).pack(key)
        self.replace(txn, key, Record.head(packed), Record.head(new), new)

    def end_lost(self, txn: Txn, key: bytes, now_ms: int) -> bool:
        """Put a tombstone where a live session is indexed and has no record; whether that was so.

        A damaged key loses its record. The session must not begin anew without its client's consent.
        """
        if not txn.delete(key, db=self._names):
            return False
        logger.warning("the record of session %r is missing; the session is now evicted", key)
        record = Record.unreadable(CorruptRecord("", bytes(8)), now_ms)
        packed = tombstone(record, Status.EVICTED, now_ms).pack(key)
        self.replace(txn, key, None, Record.head(packed), packed)
        return True

    def live(self, txn: Txn, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and packed records of live sessions, in order of key."""
        with txn.cursor(self._names) as cursor:
            more = cursor.set_range(max(prefix, after))
            while more and (key := cursor.key()).startswith(prefix):
                packed = txn.get(key, db=self.records) if key > after else None
                if packed is not None:
                    yield key, packed
                more = cursor.next()

    def longest_idle(self, txn: Txn, tenant: bytes, but: bytes) -> tuple[bytes, int] | None:
        """The tenant's live session, other than `but`, idle for longest, and when it was last used."""
        prefix = tenant + b"\0"
        walk = self._walk(txn, self._queues, prefix) if tenant else self._walk(txn, self._idle)
        own = (oldest for oldest in islice(walk, _MAX_WALKED) if oldest[0].startswith(prefix))
        return next((oldest for oldest in own if oldest[0] != but), None)

    def expired(self, txn: Txn, now_ms: int, limit: int) -> list[bytes]:
        """Up to `limit` sessions that have been idle for longer than their TTL, first to expire first."""
        expired: list[bytes] = []
        for key, expires_ms in self._walk(txn, self._expiry):
            if len(expired) == limit or expires_ms // 1000 > now_ms // 1000:
                break
            if expires_ms < now_ms:
                expired.append(key)
        return expired

    def live_usage(self, txn: Txn) -> Usage:
        """All live sessions."""
        return Usage(int(txn.stat(self._names)["entries"]), self._total(txn, _LIVE_BYTES))

    def tombstone_usage(self, txn: Txn) -> Usage:
        """All tombstones."""
        return Usage(int(txn.stat(self._tombstones)["entries"]), self._total(txn, _TOMBSTONES))

    def tenant_usage(self, txn: Txn, tenant: bytes) -> Usage:
        """The live sessions of a tenant."""
        return self._usage(txn, tenant + b"\0")

    def usages(self, txn: Txn) -> dict[bytes, Usage]:
        """The live sessions of every tenant; those of no tenant are what the others leave of all."""
        usages = {
            key[:-1]: Usage(*_USAGE.unpack(value))
            for key, value in txn.cursor(self._totals)
            if key.endswith(b"\0")
        }
        records, num_bytes = self.live_usage(txn)
        named = usages.values()
        usages[b""] = Usage(
            records - sum([usage.records for usage in named]),
            max(0, num_bytes - sum([usage.num_bytes for usage in named])),
        )
        return usages

    def num_pages(self, txn: Txn) -> int:
        """Pages of the map in use, without freed pages and pages that only readers hold."""
        stats = [txn.stat(table) for table in self._all]
        return sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)

    def write_to_each(self, txn: Txn) -> None:
        """Write into every table, as a commit would. The caller aborts the transaction."""
        for table in self._all:
            txn.put(_TEST_KEY, b"", db=table)

    def upgrade(self, txn: Txn) -> None:
        """Rebuild indexes and totals from the records, if an older version wrote fewer of them."""
        indexes = (self._names, self._idle, self._tombstones_by_tenant, self._tombstones, self._queues)
        entries = [txn.stat(table)["entries"] for table in indexes]
        usages = self.usages(txn)
        num_named = sum([usage.records for tenant, usage in usages.items() if tenant])
        if entries == [entries[0], entries[0], entries[2], entries[2], num_named]:
            return
        logger.info("session store: rebuilding the indexes of %d records", txn.stat(self.records)["entries"])
        for table in self._all[1:]:
            txn.drop(table, delete=False)
        tenants = set()
        with txn.cursor(self.records) as cursor:
            for key, packed in cursor:
                self._update_indexes(txn, key, None, Record.head(packed))
                tenants.add(tenant_of(key))
        for tenant in tenants:
            self._drop_oldest_tombstones(txn, tenant)

    def _update_indexes(self, txn: Txn, key: bytes, old: Head | None, new: Head | None) -> None:
        if old is not None and new is not None and old.is_live and new.is_live:  # it continues, as nearly all
            if not old.is_in_second_of(new):  # else it keeps its entries
                self._move(txn, key, old, new)
            if growth := new.size - old.size:
                self._add_bytes(txn, _LIVE_BYTES, growth)
                if tenant := tenant_of(key):
                    self._add_usage(txn, tenant + b"\0", 0, growth)
            return
        self._move(txn, key, old, new)
        old_size, size = old.size if old and old.is_live else 0, new.size if new and new.is_live else 0
        if old_size != size:
            self._add_bytes(txn, _LIVE_BYTES, size - old_size)
            added = bool(size) - bool(old_size)
            if added > 0:
                txn.put(key, b"", db=self._names)
            elif added < 0:
                txn.delete(key, db=self._names)
            if tenant := tenant_of(key):
                self._add_usage(txn, tenant + b"\0", added, size - old_size)
        if old and not old.is_live:
            self._count_tombstone(txn, key, -1, -old.size)
        if new and not new.is_live:
            self._count_tombstone(txn, key, 1, new.size)

    def _move(self, txn: Txn, key: bytes, old: Head | None, new: Head | None) -> None:
        """Replace the entries of a record in the indexes that are ordered by time."""
        for index, entry in self._indexes_of(key, old):
            txn.delete(entry, db=index)
        for index, entry in self._indexes_of(key, new):
            txn.put(entry, b"", db=index)

    def _count_tombstone(self, txn: Txn, key: bytes, number: int, size: int) -> None:
        self._add_bytes(txn, _TOMBSTONES, size)
        self._add_usage(txn, tenant_of(key) + b"\0" + _TOMBSTONES, number, size)

    def _indexes_of(self, key: bytes, record: Head | None) -> list[tuple[lmdb._Database, bytes]]:
        if record is None:
            return []
        if not record.is_live:
            ended = _TIME.pack(record.touched_ms)
            tenant, separator, name = key.partition(b"\0")
            by_tenant = tenant + separator + ended + name
            return [(self._tombstones, ended + key), (self._tombstones_by_tenant, by_tenant)]
        # By the second, so that a busy session seldom moves in an index.
        expires_ms = record.touched_ms + record.ttl_ms
        touched = _TIME.pack(record.touched_ms // 1000)
        entries = [(self._idle, touched + key), (self._expiry, _TIME.pack(expires_ms // 1000) + key)]
        tenant, separator, name = key.partition(b"\0")
        if tenant:
            entries.append((self._queues, tenant + separator + touched + name))
        return entries

    def _walk(self, txn: Txn, index: lmdb._Database, prefix: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """Keys of live records in order of `idle`, `expiry` or, below a prefix, `queues`.

        With the time they are sorted by, in ms.
        """
        with txn.cursor(index) as cursor:
            more = cursor.set_range(prefix)
            while more and (entry := cursor.key()).startswith(prefix):
                key = prefix + entry[len(prefix) + _TIME.size :]
                packed = txn.get(key, db=self.records)
                head = None if packed is None else Record.head(packed)
                if head is not None and (index, entry) in self._indexes_of(key, head):
                    yield key, head.touched_ms + (head.ttl_ms if index is self._expiry else 0)
                elif packed is not None and _is_damaged(packed, key):
                    yield key, _TIME.unpack_from(entry, len(prefix))[0] * 1000
                else:
                    cursor.delete()
                    more = bool(cursor.key())
                    continue
                more = cursor.next()

    def _drop_oldest_tombstones(self, txn: Txn, tenant: bytes) -> None:
        """Drop until those of the tenant, and then all together, are within their bounds."""
        own, prefix = self._limits.tombstones_of(tenant), tenant + b"\0"
        while self._usage(txn, prefix + _TOMBSTONES).exceeds(own):
            if not self._drop_first(txn, self._tombstones_by_tenant, prefix):
                break
        while self.tombstone_usage(txn).exceeds(self._limits.tombstones):
            if not self._drop_first(txn, self._tombstones, b""):
                break

    def _drop_first(self, txn: Txn, index: lmdb._Database, prefix: bytes) -> bool:
        """Drop the first tombstone of an index below a prefix; whether there was one."""
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

    def _add_bytes(self, txn: Txn, name: bytes, growth: int) -> None:
        # Never below 0: a damaged record may leave with another size than it came with.
        txn.put(name, _TIME.pack(max(0, self._total(txn, name) + growth)), db=self._totals)

    def _usage(self, txn: Txn, name: bytes) -> Usage:
        packed = txn.get(name, db=self._totals)
        return Usage(0, 0) if packed is None else Usage(*_USAGE.unpack(packed))

    def _add_usage(self, txn: Txn, name: bytes, records: int, growth: int) -> None:
        usage = self._usage(txn, name)
        new = _USAGE.pack(max(0, usage.records + records), max(0, usage.num_bytes + growth))
        txn.put(name, new, db=self._totals)


def _is_damaged(packed: bytes, key: bytes) -> bool:
    try:
        Record.unpack(packed, key)
    except CorruptRecord:
        return True
    return False
