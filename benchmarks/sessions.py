"""Cost of sessions: one step a request on each store; and a million idle sessions."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import loads, process, report, seeding
from benchmarks.cache import Model, Unavailable
from benchmarks.contest import Measure, Options, contest, workplace
from benchmarks.peers import CELLGATE, Peer, serve_cellgate
from benchmarks.process import Server
from benchmarks.results import Result

MEMORY, LMDB, DISK, REDIS = "in memory", "LMDB", "LMDB, to disk", "Redis, appendfsync always"
REST = Model(256, 1)  # 2 KB of state
MANY = 1_000_000


def run(console: Console, *, rounds: int, seconds: float, out: Path) -> None:
    """Print both tables and write sessions.json. Raises Unavailable."""
    out.mkdir(parents=True, exist_ok=True)
    options = Options(rounds, seconds, console=console)
    with workplace() as work, _redis(work) as redis_url:
        result = _cost(options, redis_url)
    report.print_result(console, result)
    report.write_json(out / "sessions.json", [result], report.versions({}))
    _at_rest(console)
    console.print(f"{out}/sessions.json")


def _cost(options: Options, redis_url: str | None) -> Result:
    """One worker for each store, because the memory store is not shared."""

    def peer(name: str, **settings: Any) -> Peer:
        def start(model: Model, work: Path) -> Server:
            return serve_cellgate(model, work, workers=1, threads=1, **settings)

        return Peer(name, start, CELLGATE.dialect, has_sessions=True)

    peers = [
        peer(MEMORY, store="memory"),
        peer(LMDB),
        peer(DISK, session_sync="disk"),
        *([peer(REDIS, store="redis", redis_url=redis_url)] if redis_url else []),
    ]
    with contest(options, loads.SMALL, peers, sessions=True) as started:
        measures: dict[str, Measure] = {}
        for contestant in started.running:
            loads.begin_sessions(contestant)
            calls = loads.calls(1, sessions=True)
            measures[contestant.peer.name] = loads.closed_measure(options, contestant, calls)
        rows = started.run(options, measures)
    result = Result("sessions", "one step a request, 64 sessions, one worker", "requests_per_s", rows)
    result.baseline = LMDB
    result.targets[MEMORY] = 0.9
    return result


def _at_rest(console: Console) -> None:
    """A million sessions of 2 KB: their size, and the start time of a server with them."""
    REST.make()
    with workplace() as work:
        server = serve_cellgate(REST, work, workers=1)
        try:
            before = _mb(server)
            started = time.perf_counter()
            seeding.create(server, work / "sessions", MANY)
            created_s, after = time.perf_counter() - started, _mb(server)
        finally:
            server.stop()
        stored = (work / "sessions" / "data.mdb").stat().st_blocks * 512 / 1e9
        begin = time.perf_counter()
        again = serve_cellgate(REST, work, workers=1)
        start_s = time.perf_counter() - begin
        fresh = _mb(again)
        again.stop()
    console.print(
        f"{MANY:,} sessions of 2 KB of state: created in {created_s:.0f} s; {stored:.2f} GB on disk; "
        f"anonymous memory {before:.0f} MB before, {after:.0f} MB after; "
        f"a new server is ready after {start_s:.2f} s, with {fresh:.0f} MB"
    )


def _mb(server: Server) -> float:
    """RssAnon of all processes (MB): without the memory map, which the kernel can reclaim."""
    total = 0
    for pid in server.pids():
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1])
    return total / 1024


@contextlib.contextmanager
def _redis(work: Path) -> Iterator[str | None]:
    """The URL of a new Redis that writes every commit to disk; None without redis-server."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        yield None
        return
    port = process.free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(work), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        if running.poll() is not None:
            raise Unavailable("redis-server did not start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        running.terminate()
        running.wait()
