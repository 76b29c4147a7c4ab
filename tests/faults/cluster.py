"""Real processes and their outages: two servers on one LMDB directory, or three on one Redis.

An outage ends when everything that it killed runs again.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.server.process import IGNORED
from tests.e2e.server import ROOT, Server
from tests.faults.lmdb_outages import (
    LIMIT_S,
    expire_on_full_disk,
    fill_disk,
    remove_lock_file,
    stop_worker,
    stop_writer,
)
from tests.faults.proxy import StoreProxy, store_proxy
from tests.redis_server import RedisServer, redis_server
from tests.small_disk import mounted

REPLICAS = 3
DISK_MB = 300
MAX_VERSIONS = 6
DROP_WAIT_S = 0.1
DOWN_S = 0.3  # maximum time before a killed process is started again
# Few steps a call, so that a request takes several calls, and some are killed between two of them.
SETTINGS = {"chunk_steps": "4", "log_level": "warning", "access_log": "false"}

Outage = Callable[[random.Random], Awaitable[None]]


@dataclass
class Cluster:
    """The servers, and the possible outages by name."""

    servers: list[Server]
    outages: dict[str, Outage]

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def logs(self) -> str:
        """The ends of the servers' logs, for an error message."""
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
    """Two servers, of two workers and one, on one LMDB file, on a small disk where one can be mounted."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = folder / "disk" / "sessions"
        can_fill = _has_small_disk(stack, sessions.parent)
        models = folder / "models"
        shutil.copytree(ROOT / "models" / "vowels", models / "vowels")
        settings = {
            "sessions_dir": str(sessions),
            "worker_hang_s": "2",
            "models_dir": str(models),
            "models_poll_s": "0.2",
        }
        server = await stack.enter_async_context(
            single(folder / "server", store="lmdb", workers="2", **settings)
        )
        second = await stack.enter_async_context(single(folder / "second", store="lmdb", **settings))
        servers = [server, second]
        outages: dict[str, Outage] = {
            "kill -9 of a worker": lambda rng: _signal_worker(server, signal.SIGKILL, rng),
            "SIGTERM of a worker": lambda rng: _signal_worker(server, signal.SIGTERM, rng),
            "signals without a meaning": lambda rng: _signal_all(server, rng),
            "kill -9 of all, LMDB reopened": lambda rng: _kill(servers, rng),
            "rolling restart": lambda rng: _restart(servers, rng),
            "lock.mdb removed, a worker killed": lambda rng: remove_lock_file(server, sessions, rng),
            "a worker stopped": lambda rng: stop_worker(server, rng),
            "a writer stopped": lambda _: stop_writer(server, sessions),
            "a version retired": lambda _: _retire_version(server, models / "vowels"),
        }
        if can_fill:
            outages["disk full"] = lambda _: fill_disk(server, sessions)
            outages["disk full, sessions expire"] = lambda _: expire_on_full_disk(server, sessions)
        yield Cluster(servers, outages)


def _has_small_disk(stack: contextlib.AsyncExitStack, folder: Path) -> bool:
    """Mount a disk that can be filled; whether that is possible."""
    try:
        stack.enter_context(mounted(folder, DISK_MB))
    except OSError:
        return False
    return True


@contextlib.asynccontextmanager
async def redis_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Three servers that share a Redis, which writes through on every commit."""
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        front = await stack.enter_async_context(store_proxy(redis.port))
        settings = {"store": "redis", "redis_url": f"redis://127.0.0.1:{front.port}/0"}
        servers = [
            await stack.enter_async_context(single(folder / f"replica-{number}", **settings))
            for number in range(REPLICAS)
        ]
        outages: dict[str, Outage] = {
            "kill -9 of a replica": lambda rng: _kill([rng.choice(servers)], rng),
            "rolling restart of two replicas": lambda rng: _restart(rng.sample(servers, 2), rng),
            "kill -9 of Redis": lambda rng: _kill_redis(redis, rng),
            "replies of Redis dropped": lambda rng: _drop_replies(front, rng),
        }
        yield Cluster(servers, outages)


async def _signal_worker(server: Server, number: signal.Signals, rng: random.Random) -> None:
    """End one of several workers; the parent starts another."""
    workers = await asyncio.to_thread(server.workers)
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(workers), number)


async def _signal_all(server: Server, rng: random.Random) -> None:
    """Send a signal that a server ignores to the parent and to its workers, none of which may end."""
    workers = await asyncio.to_thread(server.workers)
    for pid in (server.process.pid, *workers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, rng.choice(IGNORED))
    assert server.process.poll() is None, server.log.read_text()[-1500:]


async def _kill(servers: Sequence[Server], rng: random.Random) -> None:
    """Kill all of them at once, and start them again."""
    for server in servers:
        server.kill()
    await asyncio.sleep(rng.random() * DOWN_S)
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))


async def _restart(servers: Sequence[Server], rng: random.Random) -> None:
    """Stop and start one after the other, as an upgrade does; the others answer meanwhile."""
    for server in rng.sample(servers, len(servers)):
        status = await asyncio.to_thread(server.stop)
        assert status == 0, f"exit status {status} after SIGTERM:\n{server.log.read_text()[-1500:]}"
        await asyncio.to_thread(server.start)


async def _retire_version(server: Server, folder: Path) -> None:
    """Add the next version, the same model, and delete the one before; its sessions stay on it."""
    old = max(folder.iterdir(), key=lambda version: int(version.name))
    new = folder / str(int(old.name) + 1)
    if int(new.name) > MAX_VERSIONS:  # each of them stays loaded for its sessions
        return
    await asyncio.to_thread(shutil.copytree, old, folder.parent / "incoming")
    (folder.parent / "incoming").rename(new)
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
        async with asyncio.timeout(LIMIT_S):
            while not await _has_version(client, folder.name, new.name):
                await asyncio.sleep(DROP_WAIT_S)
    await asyncio.to_thread(shutil.rmtree, old)


async def _has_version(client: httpx.AsyncClient, model: str, version: str) -> bool:
    """Whether a version is loaded; not known while the workers of the outage before start again."""
    try:
        reply = await client.get(f"/models/{model}")
    except httpx.TransportError:
        return False
    return reply.status_code == 200 and reply.json()["models"][-1].get("version") == version


async def _kill_redis(redis: RedisServer, rng: random.Random) -> None:
    redis.kill()
    await asyncio.sleep(rng.random() * DOWN_S)
    await asyncio.to_thread(redis.start)


async def _drop_replies(front: StoreProxy, rng: random.Random) -> None:
    """Repeat until one is dropped: the chosen connections may be unused."""
    num_dropped = front.num_dropped
    while front.num_dropped == num_dropped:
        front.drop_replies(rng)
        await asyncio.sleep(DROP_WAIT_S)
