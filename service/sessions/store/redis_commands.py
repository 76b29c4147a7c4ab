"""Commands to Redis: sent again when a reply is lost, bounded in time, with Redis' errors translated.

A command without a reply is sent again, by the rules of the client's `Retry`. A write that then finds its own
revision had been applied. One that finds another revision is unsettled: its own may have been applied before.
Its step must not run again, so it ends with StoreUnavailable, like a time-out; the client's retry with the
same `at` gets the stored reply, or runs, or gets a 409 with the current step.

This file knows no records: it sends what `redis.py` composes.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from service.errors import StartupError, StoreUnavailable
from service.sessions.store.redis_eviction import EvictionWatch, Unsuitable
from service.sessions.store.redis_library import KEYS, SHARDS_KEY
from service.sessions.store.redis_scripts import Script
from service.sessions.store.redis_url import connect

logger = logging.getLogger(__name__)

_RETRIES, _FIRST_WAIT_S, _LONGEST_WAIT_S = 5, 0.02, 0.5

Call = Callable[[], Awaitable[Any]]
T = TypeVar("T")


class RedisCommands:
    """The connection to one Redis server or Cluster."""

    def __init__(self, url: str, *, timeout_s: float, tags: Sequence[str], allow_eviction: bool) -> None:
        """`timeout_s` bounds every operation, with connecting and retries; `tags`: a hash tag per shard.

        `allow_eviction`: whether to use a server that may delete sessions when its memory is full.
        """
        self._url = url
        self._timeout_s = timeout_s
        self._tags = tags
        self._retry = Retry(ExponentialWithJitterBackoff(cap=_LONGEST_WAIT_S, base=_FIRST_WAIT_S), _RETRIES)
        self._eviction = EvictionWatch(is_allowed=allow_eviction)
        self._has_agreed = False  # whether the server is known to have as many shards as we do, and our rules
        self._was_agreed = False  # whether it ever was
        self._is_up = True

    async def open(self) -> None:
        """Connect. A server that is down may start later; one that refuses us raises StartupError."""
        self._client = connect(self._url, self._timeout_s)
        try:
            async with self.operation():
                await self._warn_of_loss()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, AuthenticationError | Unsuitable):
                await self.close()
                raise StartupError(f"session store Redis: {error.__cause__}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """Bound the time of the commands in the block. Raises StoreUnavailable for every error of Redis.

        Logs once when the server stops answering, and once when it answers again.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                if not self._has_agreed:
                    await self.check_server()
                yield
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            if self._is_up:
                logger.warning("Redis: %s: %s", type(error).__name__, error)
            self._is_up = self._has_agreed = False
            if isinstance(error, Unsuitable):
                raise StoreUnavailable(f"the session store (Redis) cannot be used: {error}") from error
            raise StoreUnavailable(
                f"the session store (Redis) does not answer: {type(error).__name__}; "
                "send the request again, with the same `at`"
            ) from error
        if not self._is_up:
            logger.warning("Redis answers again")
        self._is_up = True

    async def send(self, *command: Any) -> Any:
        """One command, until there is a reply."""
        return await self.retry(functools.partial(self._execute, *command))

    async def run_all(self, script: Script, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Run a script on several shards at once, each given by its hash tag and ARGV."""
        async with self.operation():
            return await asyncio.gather(
                *(self.retry(functools.partial(self.run, script, *call)) for call in calls)
            )

    async def run(self, script: Script, tag: str, arguments: list[Any]) -> Any:
        """Run a script on a shard, once."""
        keys = [f"{tag}:{name}" for name in KEYS]
        try:
            return await self._execute("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # the server was started since
            return await self._execute("EVAL", script.text, len(keys), *keys, *arguments)

    async def retry(self, call: Call, is_settled: Callable[[Any], bool] = lambda _: True) -> Any:
        """Call until there is a reply. A reply to a second call is an error if it is not settled.

        `is_settled`: whether a reply also tells what became of earlier calls whose reply was lost.
        """
        failures: list[Exception] = []

        async def note(error: Exception) -> None:
            failures.append(error)

        reply = await self._retry.call_with_retry(call, note)
        if failures and not is_settled(reply):
            raise _Unsettled from failures[-1]
        return reply

    async def check_server(self) -> None:
        """Refuse a server with another number of shards, or that evicts. To be called in an `operation`.

        Stores the number of shards where there is none.
        """
        await _translated(self._eviction.check(self._client))
        await self.retry(self._agree_on_shards)

    async def _execute(self, *command: Any) -> Any:
        return await _translated(self._client.execute_command(*command))

    async def _agree_on_shards(self) -> None:
        ours, key = len(self._tags), f"{self._tags[0]}:{SHARDS_KEY}"
        theirs = await self._execute("GET", key)
        if theirs is None and self._was_agreed:
            logger.error("Redis has lost keys since the last check: sessions may have been deleted")
        if theirs is None:  # SET only when it is needed: a full server would refuse it
            await self._execute("SET", key, ours, "NX")
            theirs = await self._execute("GET", key)
        self._has_agreed = self._was_agreed = int(theirs) == ours
        if not self._has_agreed:
            raise Unsuitable(f"the sessions there lie in {int(theirs)} shards, redis_shards is {ours}")

    async def _warn_of_loss(self) -> None:
        """Log the server's settings that could lose sessions, where it lets us read them."""
        with contextlib.suppress(ResponseError):
            config = await _translated(self._client.config_get("appendonly", "appendfsync"))
            if config.get("appendonly") == "no":
                logger.warning("Redis has appendonly no: a restart loses sessions")
            elif config.get("appendfsync") != "always":
                logger.warning(
                    "Redis has appendfsync %s: a crash may lose acknowledged steps", config.get("appendfsync")
                )


async def _translated(work: Awaitable[T]) -> T:
    """What the client does, with a connection that was closed meanwhile as a ConnectionError of Redis.

    The cluster client closes connections under commands that use them. uvloop's transports raise RuntimeError
    for a write after the other side has closed, as it does when Redis is down behind a proxy.
    """
    try:
        return await work
    except (AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "closed" not in str(error):
            raise
        raise ConnectionError("the connection was closed under a command") from error


class _Unsettled(RedisError):
    """The command was sent twice, and the second reply does not tell what became of the first."""
