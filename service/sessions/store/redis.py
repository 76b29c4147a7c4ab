"""Sessions in Redis 7 or Valkey: for many hosts; any replica can continue any session.

A commit is one script per shard touched, sent at once: one round trip for a whole group of writes. All keys
of a shard carry its hash tag (`{cellgate:0}:records`), so that on Redis Cluster they lie in one slot; a
script declares all keys it uses (`redis_library.py` lists them).

One shard enforces its bounds exactly. On a Cluster, several shards spread the load; each has its part of the
bounds. A large hash moves slowly between nodes: start with more shards than nodes rather than move slots
often.
"""

import asyncio
import functools
import heapq
import itertools
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from service.errors import StoreUnavailable
from service.sessions.store import redis_scripts
from service.sessions.store.base import Outcome, Write, unpack_live
from service.sessions.store.record import Record
from service.sessions.store.redis_commands import RedisCommands
from service.sessions.store.redis_scripts import OUTCOMES
from service.sessions.store.room import Limits, Usage

SCANNED = 64  # records that one reply of Redis has at most, while sessions are listed
_PARTS_OF_A_WRITE = 5  # key, expected revision, record, the tenant's bounds


class RedisStore:
    """Implements `Store`. Shared by all servers with the same URL."""

    def __init__(
        self,
        url: str,
        limits: Limits,
        *,
        timeout_s: float = 2.0,
        shards: int = 1,
        allow_eviction: bool = False,
        name: str = "cellgate",
    ) -> None:
        """`timeout_s` bounds every operation, with connecting and retries.

        `name`: what its keys begin with.
        `allow_eviction`: whether to use a server that may delete sessions when its memory is full.
        """
        self.limits = limits
        self.num_evicted = 0
        self._tags = [f"{{{name}:{number}}}" for number in range(shards)]
        self._commands = RedisCommands(
            url, timeout_s=timeout_s, tags=self._tags, allow_eviction=allow_eviction
        )
        self._part = limits.part(shards)
        self._tombstone_bounds = [*self._part.tombstones, *self._part.tombstones_of(b"any tenant")]
        self._reads: dict[bytes, asyncio.Future[Record | None]] = {}  # that wait for the next command
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. A server that is down may start later; one that refuses us raises StartupError."""
        await self._commands.open()

    async def close(self) -> None:
        """Close the connections."""
        if self._reading is not None:
            await self._reading
        await self._commands.close()

    async def check(self) -> None:
        """Run an empty commit on every shard: a server that is full or read-only refuses it."""
        await self._commands.run_all(
            redis_scripts.COMMIT, [(tag, self._commit_arguments(0)) for tag in self._tags]
        )

    async def usage(self) -> Usage:
        """The live sessions and their bytes, of all servers."""
        replies = await self._commands.run_all(redis_scripts.USAGE, [(tag, []) for tag in self._tags])
        return Usage(*map(sum, zip(*replies, strict=True)))

    async def get(self, key: bytes) -> Record | None:
        """The record as last committed by any replica; reads that arrive meanwhile share a command."""
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read_waiting())
        try:
            return await asyncio.shield(read)
        except StoreUnavailable as error:
            raise StoreUnavailable(error.detail) from error  # each caller has an error of its own

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, those of a shard in one transaction."""
        groups: dict[str, list[int]] = {}
        for index, write in enumerate(writes):
            groups.setdefault(self._tag_of(write.key), []).append(index)
        calls = [
            (tag, self._commit_arguments(now_ms) + [part for i in group for part in self._pack(writes[i])])
            for tag, group in groups.items()
        ]
        async with self._commands.operation():
            replies = await asyncio.gather(
                *(
                    self._commands.retry(functools.partial(self._commit_to, *call), _has_no_conflict)
                    for call in calls
                )
            )
        outcomes = [Outcome.CONFLICT] * len(writes)
        for group, numbers in zip(groups.values(), replies, strict=True):
            for index, number in zip(group, numbers, strict=True):
                outcomes[index] = OUTCOMES[number]
        return outcomes

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key, merged from all shards."""
        live: list[tuple[bytes, Record]] = []
        while True:
            wanted = min(limit - len(live), SCANNED)
            page = await self._page(prefix, after, wanted)
            live += unpack_live(page, wanted)
            if len(live) == limit or len(page) < wanted:
                return live
            after = page[-1][0]

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Replace expired sessions with tombstones, the longest expired first."""
        async with self._commands.operation():
            await self._commands.check_server()  # it may have been emptied, or configured, meanwhile
        num_ended = 0
        for tag in self._tags:
            arguments = [now_ms, *self._tombstone_bounds, limit - num_ended]
            num_ended += (await self._commands.run_all(redis_scripts.SWEEP, [(tag, arguments)]))[0]
            if num_ended >= limit:
                break
        return num_ended

    def _tag_of(self, key: bytes) -> str:
        return self._tags[zlib.crc32(key) % len(self._tags)]

    def _pack(self, write: Write) -> list[bytes | int]:
        """A write as the script reads it; each shard has its part of a quota."""
        quota, shards = write.quota, len(self._tags)
        bounds = [-(-quota.max_sessions // shards), -(-quota.max_bytes // shards)] if quota else [0, 0]
        packed = write.record.pack(write.key) if write.record is not None else b""
        return [write.key, write.expected or b"", packed, *bounds]

    def _commit_arguments(self, now_ms: int) -> list[int | bytes]:
        part = self._part
        return [now_ms, *self._tombstone_bounds, part.max_sessions, part.max_bytes, part.min_idle_ms]

    async def _commit_to(self, tag: str, arguments: list[Any]) -> list[int]:
        """The number of each write's outcome."""
        try:
            reply = await self._commands.run(redis_scripts.COMMIT, tag, arguments)
        except OutOfMemoryError:  # deletes free memory, so they may run all the same
            first = len(self._commit_arguments(0))
            records = arguments[first + 2 :: _PARTS_OF_A_WRITE]
            if b"" not in records:
                raise
            reply = await self._commands.run(redis_scripts.DELETE, tag, arguments)
        outcomes: list[int]
        *outcomes, num_evicted = reply
        self.num_evicted += num_evicted
        return outcomes

    async def _page(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        lower = b"(" + after if after >= prefix else b"[" + prefix
        arguments = [lower, _upper_bound(prefix), limit]
        replies = await self._commands.run_all(redis_scripts.SCAN, [(tag, arguments) for tag in self._tags])
        pages = [zip(reply[::2], reply[1::2], strict=True) for reply in replies]
        return list(itertools.islice(heapq.merge(*pages), limit))

    async def _read_waiting(self) -> None:
        try:
            while self._reads:
                reads, self._reads = self._reads, {}
                await self._read_group(reads)
        finally:
            self._reading = None

    async def _read_group(self, reads: dict[bytes, asyncio.Future[Record | None]]) -> None:
        """Settle every read, whatever happens: none of them waits for ever, with its session's turn."""
        try:
            found = await self._read(reads)
        except Exception as error:  # noqa: BLE001  passed on to every waiter
            for read in reads.values():
                read.set_exception(error)
                read.exception()  # its caller may have been cancelled
            return
        for key, packed in found.items():
            _settle(reads[key], key, packed)

    async def _read(self, keys: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """The packed records, by key. Raises StoreUnavailable."""
        groups: dict[str, list[bytes]] = {}
        for key in keys:
            groups.setdefault(self._tag_of(key), []).append(key)
        async with self._commands.operation():
            replies = await asyncio.gather(
                *(self._commands.send("HMGET", f"{tag}:records", *group) for tag, group in groups.items())
            )
        return {
            key: packed
            for group, values in zip(groups.values(), replies, strict=True)
            for key, packed in zip(group, values, strict=True)
        }


def _has_no_conflict(outcomes: list[int]) -> bool:
    return OUTCOMES.index(Outcome.CONFLICT) not in outcomes


def _upper_bound(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, exclusive, as ZRANGEBYLEX takes it."""
    stem = prefix.rstrip(b"\xff")
    return b"(" + stem[:-1] + bytes([stem[-1] + 1]) if stem else b"+"


def _settle(read: "asyncio.Future[Record | None]", key: bytes, packed: bytes | None) -> None:
    try:
        read.set_result(None if packed is None else Record.unpack(packed, key))
    except Exception as error:  # noqa: BLE001  a damaged record fails only the reads of that record
        read.set_exception(error)
        read.exception()
