"""`cellgate demo`: it touches no server but its own, and leaves nothing behind, however it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.environment import isolate
from tests.service.cli.command import run

LIMIT_S = 60.0  # it only ends a hang


def processes_of(folder: Path) -> list[int]:
    """The processes that have a folder in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CELLGATE_SESSIONS_DIR={folder}".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def test_a_server_that_is_not_its_own_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        shown = run("demo", "--port", str(port), "--no-browser", "--no-stay")
        assert shown.exit_code == 1 and f"port {port}: Address already in use" in shown.output
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_while_its_server_starts_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    environ = dict(os.environ)
    isolate(environ)
    environ |= {"TMPDIR": str(tmp_path), "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "service", "demo", "--no-browser", "--no-stay"]
    started = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + LIMIT_S
    while not any(log.stat().st_size for log in tmp_path.glob("cellgate-demo-*/server.log")):
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    assert processes_of(tmp_path)
    started.send_signal(number)
    output, _ = started.communicate(timeout=LIMIT_S)
    assert "The server has ended" in output
    assert not processes_of(tmp_path) and not list(tmp_path.glob("cellgate-demo-*"))
