"""Sessions in Redis 7 or Valkey: many hosts, any replica goes on with any session.

A commit is one script per shard touched, sent at once: one round trip for a whole group of writes. All keys
of a shard carry its hash tag, so that on Redis Cluster they lie in one slot; a script declares all it uses.

    {cellgate:0}:records   hash        key → record, live sessions and tombstones alike
    {cellgate:0}:idle      sorted set  live, by the time last touched: the first is evicted first
    {cellgate:0}:expiry    sorted set  live, by the time they expire
    {cellgate:0}:names     sorted set  live, in order of key, for lists
    {cellgate:0}:graves    sorted set  tombstones, by the time of death
    {cellgate:0}:plots     sorted set  tombstones, by tenant and the time of death
    {cellgate:0}:bytes     number      sum of the sizes of all live records
    {cellgate:0}:grave_bytes           the same of all tombstones
    {cellgate:0}:tenants   hash        tenant, "sessions" or "bytes" → sum over its live records;
                                       "tombstones" or "tombstone_bytes" → sum over its tombstones
    {cellgate:0}:shards    number      of shards; every server must agree on it

One shard keeps its bounds and evicts exactly. On a Cluster, several spread the load; each has its part of the
bounds. A big hash moves slowly between nodes: rather start with more shards than nodes than move slots often.

A command without a reply is sent again, by the rules of the client's `Retry`. A write that then finds its own
revision had been applied. One that finds another's cannot know: its own may lie below. Its step must not be
run again, so that is StoreUnavailable, as when the time is up; the client's retry with the same `at` gets the
stored reply, or runs, or is told the true step.
"""

import asyncio
import contextlib
import functools
import heapq
import itertools
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from service.errors import StartupError, StoreUnavailable
from service.sessions.store import redis_scripts
from service.sessions.store.base import Limits, Outcome, Stats, Write, take_live
from service.sessions.store.record import Record
from service.sessions.store.redis_url import connect

logger = logging.getLogger(__name__)

_OUTCOMES = (Outcome.DONE, Outcome.CONFLICT, Outcome.FULL, Outcome.OVER_QUOTA)
_KEYS = ("records", "idle", "expiry", "names", "graves", "bytes", "tenants", "plots", "grave_bytes")
_RETRIES, _FIRST_WAIT_S, _LONGEST_WAIT_S = 5, 0.02, 0.5


class RedisStore:
    """Implements `Store`. Shared by all who name the same server."""

    def __init__(self, url: str, limits: Limits, *, timeout_s: float = 2.0, shards: int = 1) -> None:
        """`timeout_s` bounds every operation, connecting and trying again included."""
        self.limits = limits
        self._url = url
        self._timeout_s = timeout_s
        self._tags = [f"{{cellgate:{number}}}" for number in range(shards)]
        self._part = limits.part(shards)
        self._grave_bounds = [
            self._part.max_tombstones,
            self._part.max_tombstone_bytes,
            *self._part.tombstone_bounds(b"some tenant"),
        ]
        self._retry = Retry(ExponentialWithJitterBackoff(cap=_LONGEST_WAIT_S, base=_FIRST_WAIT_S), _RETRIES)
        self._is_agreed = False  # whether the server is known to hold as many shards as we think
        self._is_up = True
        self._wanted: dict[bytes, asyncio.Future[Record | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. A server that is down may come later; one that refuses us raises StartupError."""
        self._client = connect(self._url, self._timeout_s)
        try:
            async with self._asking():
                await self._warn_of_loss()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, AuthenticationError | _ShardsDiffer):
                await self.close()
                raise StartupError(f"session store Redis: {error.__cause__}") from error

    async def close(self) -> None:
        """Let go of the connections."""
        if self._reading is not None:
            await self._reading
        await self._client.aclose()

    async def check(self) -> None:
        """Ask every shard for leave to write: a server that is full or read-only says no, too."""
        await self._run_all([(tag, self._commit_arguments(0)) for tag in self._tags], redis_scripts.COMMIT)

    async def get(self, key: bytes) -> Record | None:
        """The record as last committed by any replica; all who ask in the meantime share a command."""
        waiting = self._wanted.get(key)
        if waiting is None:
            waiting = self._wanted[key] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read_wanted())
        try:
            return await asyncio.shield(waiting)
        except StoreUnavailable as error:
            raise StoreUnavailable(error.detail) from error  # each asker has an error of its own

    async def commit(self, writes: Sequence[Write], now_ms: int) -> list[Outcome]:
        """Apply writes in order, those of a shard in one transaction."""
        groups: dict[str, list[int]] = {}
        for index, write in enumerate(writes):
            groups.setdefault(self._tag_of(write.key), []).append(index)
        calls = [
            (tag, self._commit_arguments(now_ms) + [part for i in group for part in self._pack(writes[i])])
            for tag, group in groups.items()
        ]
        async with self._asking():
            found = await asyncio.gather(
                *(self._send(functools.partial(self._commit_to, *c), _has_no_conflict) for c in calls)
            )
        outcomes = [Outcome.CONFLICT] * len(writes)
        for group, numbers in zip(groups.values(), found, strict=True):
            for index, number in zip(group, numbers, strict=True):
                outcomes[index] = _OUTCOMES[number]
        return outcomes

    async def scan(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Live records in order of key, merged from all shards."""
        found: list[tuple[bytes, Record]] = []
        while True:
            page = await self._page(prefix, after, limit)
            found += take_live(page, limit - len(found))
            if len(found) == limit or len(page) < limit:
                return found
            after = page[-1][0]  # some of that page were damaged

    async def sweep(self, now_ms: int, limit: int) -> int:
        """Bury the expired, the longest expired first."""
        async with self._asking():
            await self._send(self._agree)  # somebody may have emptied the server under us
        buried = 0
        for tag in self._tags:
            arguments = [now_ms, *self._grave_bounds, limit - buried]
            buried += (await self._run_all([(tag, arguments)], redis_scripts.SWEEP))[0]
            if buried >= limit:
                break
        return buried

    async def stats(self) -> Stats:
        """How full the store is, all replicas together."""
        found = await self._run_all([(tag, []) for tag in self._tags], redis_scripts.STATS)
        return Stats(*(sum(column) for column in zip(*found, strict=True)))

    def _tag_of(self, key: bytes) -> str:
        return self._tags[zlib.crc32(key) % len(self._tags)]

    def _pack(self, write: Write) -> list[bytes | int]:
        """A write as the script reads it; each shard has its part of a quota."""
        quota, shards = write.quota, len(self._tags)
        bounds = [-(-quota.max_sessions // shards), -(-quota.max_bytes // shards)] if quota else [0, 0]
        packed = write.record.pack() if write.record is not None else b""
        return [write.key, write.expected or b"", packed, *bounds]

    def _commit_arguments(self, now_ms: int) -> list[int | bytes]:
        part = self._part
        return [now_ms, *self._grave_bounds, part.max_sessions, part.max_bytes, part.min_idle_ms]

    async def _commit_to(self, tag: str, arguments: list[Any]) -> Any:
        try:
            return await self._run(redis_scripts.COMMIT, tag, arguments)
        except OutOfMemoryError:
            first = len(self._commit_arguments(0))
            if b"" not in arguments[first + 2 :: 5]:
                raise
            return await self._run(redis_scripts.DELETE, tag, arguments)

    async def _page(self, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        lower = b"(" + after if after >= prefix else b"[" + prefix
        arguments = [lower, _upper_bound(prefix), limit]
        found = await self._run_all([(tag, arguments) for tag in self._tags], redis_scripts.SCAN)
        pages = [zip(page[::2], page[1::2], strict=True) for page in found]
        return list(itertools.islice(heapq.merge(*pages), limit))

    async def _read_wanted(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._read_group(wanted)
        finally:
            self._reading = None

    async def _read_group(self, wanted: dict[bytes, asyncio.Future[Record | None]]) -> None:
        groups: dict[str, list[bytes]] = {}
        for key in wanted:
            groups.setdefault(self._tag_of(key), []).append(key)
        try:
            async with self._asking():
                calls = (("HMGET", f"{tag}:records", *keys) for tag, keys in groups.items())
                found = await asyncio.gather(*(self._send(functools.partial(self._ask, *c)) for c in calls))
        except StoreUnavailable as error:
            for waiting in wanted.values():
                waiting.set_exception(error)
                waiting.exception()  # whoever asked may have hung up
            return
        for keys, values in zip(groups.values(), found, strict=True):
            for key, packed in zip(keys, values, strict=True):
                _settle(wanted[key], packed)

    async def _run_all(self, calls: list[tuple[str, list[Any]]], script: redis_scripts.Script) -> list[Any]:
        """Run a script on several shards at once."""
        async with self._asking():
            return await asyncio.gather(
                *(self._send(functools.partial(self._run, script, *call)) for call in calls)
            )

    async def _send(
        self, do: Callable[[], Awaitable[Any]], is_settled: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        """Try until there is a reply; one to a command sent twice may not settle what became of the first."""
        failures: list[Exception] = []

        async def note(error: Exception) -> None:
            failures.append(error)

        reply = await self._retry.call_with_retry(do, note)
        if failures and not is_settled(reply):
            raise _Unsettled from failures[-1]
        return reply

    async def _run(self, script: redis_scripts.Script, tag: str, arguments: list[Any]) -> Any:
        keys = [f"{tag}:{name}" for name in _KEYS]
        try:
            return await self._ask("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # a server that has been started since
            return await self._ask("EVAL", script.text, len(keys), *keys, *arguments)

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except AttributeError as error:  # the cluster client closes connections under commands that use them
            raise ConnectionError("the connection was closed under a command") from error

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Bound the time, translate errors, and say once when the server goes and when it comes back."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if not self._is_agreed:
                    await self._send(self._agree)
                yield
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            if self._is_up:
                logger.warning("Redis: %s: %s", type(error).__name__, error)
            self._is_up = self._is_agreed = False
            raise StoreUnavailable(
                f"the session store (Redis) does not answer: {type(error).__name__}; "
                "send the request again, with the same `at`"
            ) from error
        if not self._is_up:
            logger.warning("Redis answers again")
        self._is_up = True

    async def _agree(self) -> None:
        """Be the first to say how many shards there are, or agree with whoever was."""
        ours, key = len(self._tags), f"{self._tags[0]}:shards"
        theirs = await self._ask("GET", key)
        if theirs is None:  # not asked to set otherwise: a full server would refuse
            await self._ask("SET", key, ours, "NX")
            theirs = await self._ask("GET", key)
        self._is_agreed = int(theirs) == ours
        if not self._is_agreed:
            raise _ShardsDiffer(f"the sessions there lie in {int(theirs)} shards, redis_shards is {ours}")

    async def _warn_of_loss(self) -> None:
        """Say what would make this server lose sessions, where it lets us look."""
        with contextlib.suppress(ResponseError):
            found = await self._client.config_get("appendonly", "appendfsync", "maxmemory-policy")
            if found.get("appendonly") == "no":
                logger.warning("Redis has appendonly no: a restart loses sessions")
            elif found.get("appendfsync") != "always":
                logger.warning(
                    "Redis has appendfsync %s: a crash may lose acknowledged steps", found.get("appendfsync")
                )
            if found.get("maxmemory-policy") != "noeviction":
                logger.warning(
                    "Redis has maxmemory-policy %s: it may throw sessions away", found.get("maxmemory-policy")
                )


class _ShardsDiffer(RedisError):
    """The sessions on the server are laid out for another number of shards."""


class _Unsettled(RedisError):
    """The command was sent twice, and the second reply does not say what the first did."""


def _has_no_conflict(outcomes: list[int]) -> bool:
    return _OUTCOMES.index(Outcome.CONFLICT) not in outcomes


def _upper_bound(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, exclusive, as ZRANGEBYLEX wants it."""
    stem = prefix.rstrip(b"\xff")
    return b"(" + stem[:-1] + bytes([stem[-1] + 1]) if stem else b"+"


def _settle(waiting: "asyncio.Future[Record | None]", packed: bytes | None) -> None:
    try:
        waiting.set_result(None if packed is None else Record.unpack(packed))
    except Exception as error:  # noqa: BLE001  a corrupt record is refused for those who ask for it, no one else
        waiting.set_exception(error)
        waiting.exception()
