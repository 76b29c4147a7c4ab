"""Closed loop: wrk sends the next body on each connection as soon as the reply has arrived.

It knows wrk's command line, not peers.
"""

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cache
from benchmarks.process import Server

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Figures:
    """One run of a closed loop."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int  # replies other than 2xx, and broken connections
    server_cpu_us: float  # per request, all processes of the server
    client_cpu_us: float  # per request, wrk itself, which shares the cores


def run(
    server: Server,
    path: str,
    bodies: Path,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
    sessions: int | None = None,
    json_length: int | None = None,
    seed: int = 1,
) -> Figures:
    """Send the bodies of a file, one a line; with `json_length`, one body of JSON and tensors.

    Raises Unavailable without wrk.
    """
    program = cache.tool("wrk", "wrk")
    command = [
        program,
        "--threads=1",
        f"--connections={connections}",
        f"--duration={max(1, round(seconds))}s",
    ]
    command += ["--timeout=30s", f"--script={cache.HERE / 'wrk.lua'}", f"http://127.0.0.1:{server.port}"]
    command += ["--", str(bodies), path, *([str(sessions), str(seed)] if sessions else [])]
    command += ["binary", str(json_length)] if json_length is not None else []
    server_cpu, client_cpu = server.cpu_s(), _client_cpu_s()
    result = subprocess.run(command, capture_output=True, text=True)
    if "JSON " not in result.stdout:
        raise RuntimeError(f"wrk: {result.stdout} {result.stderr}")
    summary = json.loads(result.stdout.rpartition("JSON ")[2])
    done = max(1, summary["requests"])
    return Figures(
        requests_per_s=(summary["requests"] - summary["non_2xx"]) / summary["duration_us"] * 1e6,
        p50_ms=summary["p50_us"] / 1e3,
        p99_ms=summary["p99_us"] / 1e3,
        errors=summary["non_2xx"] + summary["broken"],
        server_cpu_us=(server.cpu_s() - server_cpu) / done * 1e6,
        client_cpu_us=(_client_cpu_s() - client_cpu) / done * 1e6,
    )


def _client_cpu_s() -> float:
    """CPU seconds of child processes that have ended: of wrk, not of running servers."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
