"""Idle streams: the memory that each takes in a worker, and the latency of active ones beside them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks import cache, loads, streams
from benchmarks.cache import HERE
from benchmarks.contest import Options, workplace
from benchmarks.peers import serve_cellgate
from benchmarks.process import Server


def run(console: Console, *, sockets: int, seconds: float, rounds: int, out: Path) -> None:
    """Measure without and with `sockets` idle streams; print, and write JSON. Raises Unavailable."""
    loads.SMALL.make()
    options = Options(rounds, seconds, console=console)
    with workplace() as work:
        room = 2 * sockets
        server = serve_cellgate(
            loads.SMALL, work, workers=1, max_connections=room, max_streams=room, stream_ping_s=0
        )
        try:
            alone = [streams.measure(options, server, 1, is_binary=True) for _ in range(rounds + 1)][1:]
            before = sum(server.rss_bytes().values())
            with _idle(server, sockets):
                after = sum(server.rss_bytes().values())
                beside = [streams.measure(options, server, 1, is_binary=True) for _ in range(rounds)]
        finally:
            server.stop()
    figures = {
        "sockets": sockets,
        "bytes_each": (after - before) / sockets,
        "p99_ms_alone": [each["p99_ms"] for each in alone],
        "p99_ms_beside": [each["p99_ms"] for each in beside],
        "requests_per_s_alone": [each["requests_per_s"] for each in alone],
        "requests_per_s_beside": [each["requests_per_s"] for each in beside],
    }
    for name, value in figures.items():
        console.print(f"{name:24} {value}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "idle_streams.json").write_text(json.dumps(figures, indent=1))


@contextmanager
def _idle(server: Server, sockets: int) -> Iterator[None]:
    step = [0.0] * cache.FEATURES
    load = json.dumps({"port": server.port, "sockets": sockets, "step": step})
    command = [str(cache.environment() / "bin/python"), str(HERE / "idle_client.py"), load]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert client.stdout is not None
        if not client.stdout.readline():
            raise RuntimeError("the idle streams could not be opened")
        yield
    finally:
        client.kill()
        client.wait()
