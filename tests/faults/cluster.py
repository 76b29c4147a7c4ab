"""Real processes, and the ways to hurt them: two workers on LMDB; three servers on Redis.

A blow ends when what it killed runs again.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.server import Server
from tests.faults.proxy import StoreProxy, store_proxy
from tests.redis_server import RedisServer, redis_server

REPLICAS = 3
DROP_WAIT_S = 0.1
DOWN_S = 0.3  # at most, before what was killed is started again
# Few steps a call, so that a request takes several, and some die between two of them.
SETTINGS = {"chunk_steps": "4", "log_level": "warning", "access_log": "false"}

Blow = Callable[[random.Random], Awaitable[None]]


@dataclass
class Cluster:
    """What runs, and what can be done to it, by name."""

    servers: list[Server]
    blows: dict[str, Blow]

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def logs(self) -> str:
        """The ends of the servers' logs, for a message."""
        return "\n".join(f"{server.log}:\n{server.log.read_text()[-1500:]}" for server in self.servers)


@contextlib.asynccontextmanager
async def single(folder: Path, **settings: str) -> AsyncIterator[Server]:
    """One server, started."""
    folder.mkdir(parents=True)
    named = {f"CELLGATE_{name.upper()}": value for name, value in (SETTINGS | settings).items()}
    server = Server(folder, named)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        server.reap()


@contextlib.asynccontextmanager
async def lmdb_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """One server, two workers, one LMDB file."""
    async with single(folder / "server", store="lmdb", workers="2") as server:
        blows: dict[str, Blow] = {
            "kill -9 of a worker": lambda rng: _kill_worker(server, rng),
            "kill -9 of all, LMDB reopened": lambda rng: _kill(server, rng),
            "stop and start": lambda _: _restart(server),
        }
        yield Cluster([server], blows)


@contextlib.asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Three servers that share a Redis, which writes through on every commit."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        before = await stack.enter_async_context(store_proxy(redis.port))
        settings = {"store": "redis", "redis_url": f"redis://127.0.0.1:{before.port}/0"}
        servers = [
            await stack.enter_async_context(single(folder / f"replica-{number}", **settings))
            for number in range(REPLICAS)
        ]
        blows: dict[str, Blow] = {
            "kill -9 of a replica": lambda rng: _kill(rng.choice(servers), rng),
            "kill -9 of Redis": lambda rng: _kill_redis(redis, rng),
            "replies of Redis dropped": lambda rng: _drop_replies(before, rng),
        }
        yield Cluster(servers, blows)


async def _kill_worker(server: Server, rng: random.Random) -> None:
    """One of several; the parent starts another."""
    workers = await asyncio.to_thread(server.workers)
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(workers), signal.SIGKILL)


async def _kill(server: Server, rng: random.Random) -> None:
    server.kill()
    await asyncio.sleep(rng.random() * DOWN_S)
    await asyncio.to_thread(server.start)


async def _restart(server: Server) -> None:
    status = await asyncio.to_thread(server.stop)
    assert status == 0, f"exit status {status} after SIGTERM:\n{server.log.read_text()[-1500:]}"
    await asyncio.to_thread(server.start)


async def _kill_redis(redis: RedisServer, rng: random.Random) -> None:
    redis.kill()
    await asyncio.sleep(rng.random() * DOWN_S)
    await asyncio.to_thread(redis.start)


async def _drop_replies(before: StoreProxy, rng: random.Random) -> None:
    """Until one has been dropped: a connection may have been chosen that nobody uses any more."""
    num_dropped = before.num_dropped
    while before.num_dropped == num_dropped:
        before.drop_replies(rng)
        await asyncio.sleep(DROP_WAIT_S)
