"""A real server process on a free port, with its workers and its own session store."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.committed import committed_models
from tests.environment import isolate
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
START_S, STOP_S = 180.0, 120.0  # generous: they only end a hang


@dataclass
class Server:
    """`python -m service serve` and its child processes."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    home: Path = ROOT  # whose package `service` runs

    def __post_init__(self) -> None:
        self.log = self.folder / "server.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until `/predict` would answer."""
        self.launch()
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"not ready after {START_S} s:\n{self.log.read_text()}"
            time.sleep(0.05)

    def launch(self) -> None:
        environ = dict(os.environ)
        isolate(environ)  # also where `python -m tests.faults` starts it
        environ |= {
            "CELLGATE_MODELS_DIR": str(committed_models()),
            "CELLGATE_SESSIONS_DIR": str(self.folder / "sessions"),
            "CELLGATE_WORKERS": "1",
        } | self.settings
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve", "--port", str(self.port)],
                cwd=self.home, env=environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> list[int]:
        """Process ids of the workers; of the process itself if it has no workers."""
        pids = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, rest = path.read_text().split(" ", 1)
                is_child = int(rest.rsplit(") ", 1)[1].split()[1]) == self.process.pid
                command = (path.parent / "cmdline").read_bytes()
                if is_child and b"spawn_main" in command:
                    pids.append(int(pid))
        return pids or [self.process.pid]

    def kill(self) -> None:
        """Send SIGKILL to all its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """Send SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def reap(self) -> None:
        """Kill what a test has left running."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def wait_for_log(self, pattern: str) -> None:
        deadline = time.monotonic() + START_S
        while not re.search(pattern, self.log.read_text()):
            assert time.monotonic() < deadline, f"no {pattern!r} in the log:\n{self.log.read_text()}"
            time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    """A started server; settings by their name in the environment, without the prefix."""
    server = Server(folder, {f"CELLGATE_{name.upper()}": value for name, value in settings.items()})
    try:
        server.start()
        yield server
    finally:
        server.reap()


@contextlib.contextmanager
def running_two(folder: Path) -> Iterator[list[Server]]:
    """Two servers on one sessions directory."""
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(2):
            home = folder / str(number)
            home.mkdir()
            started.append(stack.enter_context(running(home, sessions_dir=str(folder / "sessions"))))
        yield started
