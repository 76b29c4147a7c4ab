"""A real nginx process with the configuration of deploy/nginx, on a free port and in a new folder."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import START_S, STOP_S
from tests.ports import free_port

READ_TIMEOUT_S = 40  # in the committed file
CONF = Path(__file__).parents[2] / "deploy/nginx"
# Debian installs it in a folder that only root's PATH has.
EXECUTABLE = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_nginx = pytest.mark.skipif(EXECUTABLE is None, reason="nginx is not installed (Debian: nginx-light)")


class Nginx:
    """One nginx in front of loopback ports."""

    def __init__(self, folder: Path, ports: Iterable[int], *, read_timeout_s: int = READ_TIMEOUT_S) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._read_timeout_s = read_timeout_s
        self.folder = folder
        self.ports = list(ports)
        self.port = free_port()
        # Workers of a root nginx run as "nobody", which cannot read root's temporary folders.
        user = " user root;" if os.geteuid() == 0 else ""
        self._command = [
            str(EXECUTABLE), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", f"daemon off;{user}"
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write(self, down: int | None = None) -> None:
        """Write the committed files with other ports, folder and timeout, and without the port `down`."""
        config = (CONF / "nginx.conf").read_text()
        for new, committed in (
            (f"listen 127.0.0.1:{self.port};", "listen 8080;"),
            (f"{self.folder}/", "/tmp/"),
            (f"proxy_read_timeout {self._read_timeout_s}s;", f"proxy_read_timeout {READ_TIMEOUT_S}s;"),
        ):
            assert committed in config
            config = config.replace(committed, new)
        (self.folder / "nginx.conf").write_text(config)
        replica = re.compile(r"\breplica-(\d+):8000\b")
        addresses = {
            str(number): f"127.0.0.1:{port}" for number, port in enumerate(self.ports, 1) if port != down
        }
        written = []
        for line in (CONF / "upstream.conf").read_text().splitlines():
            found = replica.search(line)
            if found is None:
                written.append(line)
            elif found[1] in addresses:
                written.append(replica.sub(addresses[found[1]], line))
        (self.folder / "upstream.conf").write_text("\n".join(written))

    def check(self) -> str:
        """Errors that `nginx -t` reports."""
        done = subprocess.run([*self._command, "-t", "-q"], capture_output=True, text=True)
        return done.stderr + (f"exit status {done.returncode}" if done.returncode else "")

    def start(self) -> None:
        """Start, and wait until it listens."""
        self.write()
        with (self.folder / "out").open("ab") as out, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.process.poll() is None and time.monotonic() < deadline, self.errors()
            time.sleep(0.02)

    def reload(self, down: int | None = None) -> None:
        """Remove the replica at port `down`, and wait until only workers with that configuration accept."""
        before = self._workers()
        self.write(down)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_S
        while before & self._workers():
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(STOP_S)

    def errors(self) -> str:
        return (self.folder / "log").read_text()

    def requests(self, at_least: int = 0) -> list[dict[str, Any]]:
        """The access log, once it has so many lines: they follow the answers."""
        deadline = time.monotonic() + START_S
        while True:
            lines = [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]
            if len(lines) >= at_least:
                return lines
            assert time.monotonic() < deadline, f"{len(lines)} lines of {at_least}"
            time.sleep(0.01)

    def replica_of(self, request_id: str) -> int:
        """The port of the replica that answered a request; the log line may follow the answer."""
        deadline = time.monotonic() + START_S
        while not (lines := [line for line in self.requests() if line["id"] == request_id]):
            assert time.monotonic() < deadline, f"no line for {request_id}"
            time.sleep(0.01)
        return int(lines[-1]["replica"].rpartition(":")[2])

    def _workers(self) -> set[int]:
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in task.read_text().split()}


@contextlib.contextmanager
def nginx(folder: Path, ports: Iterable[int], *, read_timeout_s: int = READ_TIMEOUT_S) -> Iterator[Nginx]:
    """A started nginx, stopped at the end of the block."""
    started = Nginx(folder, ports, read_timeout_s=read_timeout_s)
    started.start()
    try:
        yield started
    finally:
        started.stop()
