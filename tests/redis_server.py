"""Real redis-server processes for tests: own port, own folder, append-only file written on every commit."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

EXECUTABLE = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(
    EXECUTABLE is None, reason="redis-server is not installed (Debian: redis-server)"
)
OPTIONS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")


class RedisServer:
    """One server, which can be killed and started again on the same files."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it has read its files."""
        assert EXECUTABLE is not None
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [EXECUTABLE, *where, *OPTIONS, *self.options], stdout=log, stderr=log
            )
        for _ in range(2400):  # a minute
            with contextlib.suppress(OSError):
                reply = self.call("PING")
                if reply.startswith(("+PONG", "-NOAUTH")):
                    return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.025)
        raise AssertionError("redis-server does not answer")

    def call(self, *command: str) -> str:
        """Send one command on its own connection; the raw reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            parts = [f"${len(part.encode())}\r\n{part}\r\n" for part in command]
            connection.sendall(f"*{len(parts)}\r\n{''.join(parts)}".encode())
            return connection.recv(1 << 20).decode()

    def kill(self) -> None:
        """SIGKILL: the server cannot clean up."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A started server, killed at the end of the block."""
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def redis_cluster(folder: Path, num_nodes: int = 3) -> Iterator[list[RedisServer]]:
    """A Redis Cluster without replicas, every slot served."""
    with contextlib.ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        nodes = [
            stack.enter_context(redis_server(folder / str(i), *options, "--cluster-port", str(free_port())))
            for i in range(num_nodes)
        ]
        for i, node in enumerate(nodes):
            first, last = i * 16384 // num_nodes, (i + 1) * 16384 // num_nodes - 1
            assert node.call("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == "+OK\r\n"
            bus = node.options[node.options.index("--cluster-port") + 1]
            nodes[0].call("CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        for node in nodes:
            _wait_until_formed(node, num_nodes)
        yield nodes


def _wait_until_formed(node: RedisServer, num_nodes: int) -> None:
    for _ in range(1200):  # a minute
        reply = node.call("CLUSTER", "INFO")
        if "cluster_state:ok" in reply and f"cluster_size:{num_nodes}" in reply:
            return
        time.sleep(0.05)
    raise AssertionError(node.call("CLUSTER", "INFO"))
