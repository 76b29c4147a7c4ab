"""One server process with its children: start, wait until it is ready, measure, stop.

It knows /proc and HTTP, not peers.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import ROOT, Unavailable

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
START_S = 60.0


@dataclass(slots=True)
class Server:
    """A running server on a port of 127.0.0.1."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def pids(self) -> list[int]:
        """The process and all its descendants."""
        pids, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            pids.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(child) for child in (task / "children").read_text().split()]
        return pids

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of all its processes so far."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def rss_bytes(self) -> dict[int, int]:
        """Resident memory by process."""
        return {pid: rss for pid in self.pids() if (rss := _rss_bytes(pid))}

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """One request on a new connection: status and body of the reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """SIGTERM, and after five seconds SIGKILL, for all its processes."""
        pids = self.pids()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def start(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    port: int,
    ready: str,
    log: Path,
    status: int = 200,
) -> Server:
    """Start a server and wait until `GET ready` has the status. Raises Unavailable: the end of its log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **env}, cwd=ROOT, stdout=out, stderr=out
        )
    server = Server(port, process, log)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if _status_of(port, ready) == status:
            return server
        time.sleep(0.1)
    server.stop()
    raise Unavailable(f"did not start: {_last_error(log)}")


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _status_of(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return ((errors or lines or ["no output"])[-1])[:300]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
