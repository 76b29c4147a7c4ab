"""The servers under test, each behind a proxy of its own, and what can befall them."""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.server import Server
from tests.faults.proxy import Proxy
from tests.redis_server import RedisServer

MAX_PAUSE_S = 0.4  # between two disasters


class Cluster:
    """Servers on one session store. `disasters` counts what was done to them."""

    def __init__(self, folder: Path, rng: random.Random, *, kind: str, rate: float) -> None:
        self.kind = kind
        self.disasters: Counter[str] = Counter()
        self._rng = rng
        self._redis: RedisServer | None = None
        settings: dict[str, Any] = {"CELLGATE_ACCESS_LOG": "false", "CELLGATE_MODELS_POLL_S": "0"}
        if kind == "redis":
            self._redis = RedisServer(folder / "redis")
            self._redis.start()
            settings |= {"CELLGATE_STORE": "redis", "CELLGATE_REDIS_URL": self._redis.url}
            self.servers = [self._server(folder / f"replica-{number}", settings) for number in range(3)]
        else:
            self.servers = [self._server(folder / "server", settings | {"CELLGATE_WORKERS": "2"})]
        self.reference = self._server(folder / "reference", settings | {"CELLGATE_STORE": "memory"})
        self.proxies = [Proxy(server.port, random.Random(rng.random()), rate=rate) for server in self.servers]

    @staticmethod
    def _server(folder: Path, settings: dict[str, Any]) -> Server:
        folder.mkdir(parents=True)
        return Server(folder, settings)

    async def start(self) -> None:
        """Start everything."""
        for server in (*self.servers, self.reference):
            await asyncio.to_thread(server.start)
        for proxy in self.proxies:
            await proxy.start()

    async def stop(self) -> None:
        """Leave nothing running."""
        for proxy in self.proxies:
            await proxy.stop()
        for server in (*self.servers, self.reference):
            await asyncio.to_thread(server.reap)
        if self._redis is not None:
            self._redis.kill()

    async def haunt(self, over: asyncio.Event) -> None:
        """One disaster after the other, until told to stop; then everything is up again."""
        while not over.is_set():
            await asyncio.sleep(self._rng.random() * MAX_PAUSE_S)
            server = self._rng.choice(self.servers)
            disaster = self._rng.choice(
                ("a worker", "a server", "Redis" if self._redis else "a worker", "an orderly stop")
            )
            self.disasters[disaster] += 1
            if disaster == "Redis" and self._redis is not None:
                self._redis.kill()
                await asyncio.sleep(self._rng.random() * 0.3)
                await asyncio.to_thread(self._redis.start)
            elif disaster == "a worker" and len(workers := server.workers()) > 1:
                os.kill(self._rng.choice(workers), signal.SIGKILL)
            else:
                await asyncio.to_thread(server.stop if disaster == "an orderly stop" else server.kill)
                await asyncio.to_thread(server.start)
