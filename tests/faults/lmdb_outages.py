"""Outages of LMDB's files and of the processes that use them: full disk, removed file, stopped process."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.e2e.server import ROOT, Server
from tests.small_disk import fill

FULL_S = 1.0
NUM_EXPIRING, TTL_S = 100, 1
STOPPED_S = 3.0  # longer than a write waits for another
LIMIT_S = 150.0  # a worker that is stopped while it starts is replaced after a minute

# Another user of the directory, such as a command line, that stops in the middle of a write.
STOPPED_WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
from service.sessions.store import Limits
from service.sessions.store.lmdb import LmdbStore

def stop():
    print("writing", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)

async def main():
    store = LmdbStore(Path(sys.argv[1]), Limits())
    await store.open()
    await store._map.write(stop)

asyncio.run(main())
"""


async def fill_disk(server: Server, sessions: Path) -> None:
    """Fill the disk of the sessions for a while; no worker dies."""
    filler = await asyncio.to_thread(fill, sessions.parent)
    await asyncio.sleep(FULL_S)
    filler.unlink()
    _check_log(server)


async def expire_on_full_disk(server: Server, sessions: Path) -> None:
    """Fill the disk while sessions expire; all are expired, and no worker dies."""
    names = [f"expiring-{time.monotonic_ns()}-{number}" for number in range(NUM_EXPIRING)]
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
        sequences = [{"steps": [[0.0] * 12], "session": name} for name in names]
        await _send(client, "POST", "/predict", {"sequences": sequences})
        for name in names:
            await _send(client, "PATCH", f"/sessions/{name}", {"ttl_s": TTL_S})
        filler = await asyncio.to_thread(fill, sessions.parent)
        await asyncio.sleep(TTL_S + FULL_S)
        for name in names:
            await _send(client, "GET", f"/sessions/{name}", None, expected=410)
        filler.unlink()
    _check_log(server)


async def remove_lock_file(server: Server, sessions: Path, rng: random.Random) -> None:
    """Remove LMDB's lock file and kill a worker: the next one makes a new lock file."""
    (sessions / "lock.mdb").unlink()
    await _replace(server, rng, signal.SIGKILL)


async def stop_worker(server: Server, rng: random.Random) -> None:
    """Stop a worker, until it has been replaced."""
    await _replace(server, rng, signal.SIGSTOP)


async def stop_writer(server: Server, sessions: Path) -> None:
    """Stop another process while it writes; the server is not ready, is alive, and recovers."""
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
        await _send(client, "GET", "/health/ready", None)  # while no worker runs, none could start meanwhile
    command = [sys.executable, "-c", STOPPED_WRITER, str(sessions)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        assert await asyncio.to_thread(writer.stdout.readline) == "writing\n"
        async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S) as client:
            await _send(client, "GET", "/health/ready", None, expected=503)
            await _send(client, "GET", "/health/live", None)
        await asyncio.sleep(STOPPED_S)
    finally:
        writer.kill()
        await asyncio.to_thread(writer.communicate)


def _check_log(server: Server) -> None:
    log = server.log.read_text()
    assert "SIGBUS" not in log, log[-1500:]


async def _send(client: httpx.AsyncClient, method: str, path: str, body: object, expected: int = 200) -> None:
    """Until it is answered: the outage before may not be over."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        with contextlib.suppress(httpx.TransportError):  # a worker that was ended
            reply = await client.request(method, path, json=body)
            if reply.status_code == expected and not _has_errors(reply):
                return
            assert reply.status_code in (200, 503), reply.text
        assert time.monotonic() < deadline, f"{method} {path} was not answered"
        await asyncio.sleep(0.1)


def _has_errors(reply: httpx.Response) -> bool:
    """Whether some of the sequences of a request were refused."""
    predictions = reply.json().get("predictions", []) if reply.content else []
    return any("error" in prediction for prediction in predictions)


async def _replace(server: Server, rng: random.Random, number: signal.Signals) -> None:
    """Send a signal to one of the workers, and wait until it has been replaced."""
    worker = rng.choice(await asyncio.to_thread(server.workers))
    with contextlib.suppress(ProcessLookupError):  # the outage before may not be over
        os.kill(worker, number)
    deadline = time.monotonic() + LIMIT_S
    while worker in (workers := await asyncio.to_thread(server.workers)) or len(workers) < 2:
        assert time.monotonic() < deadline, server.log.read_text()[-1500:]
        await asyncio.sleep(0.1)
