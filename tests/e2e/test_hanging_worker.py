"""A worker whose event loop hangs, or that is stopped, is replaced; the others answer meanwhile."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import START_S, Server, running

# Python runs this at the start of each process: the event loop hangs at a signal.
HANG = """
import signal, time
signal.signal(signal.SIGRTMIN, lambda *_: time.sleep(10_000))
"""


def wait_until_replaced(server: Server, pid: int) -> None:
    deadline = time.monotonic() + START_S
    while pid in server.workers() or len(server.workers()) < 2 or not server.is_ready():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize("fault", ["hangs", "is stopped"])
def test_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANG)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with running(tmp_path, workers="2", worker_hang_s="2") as server:
        server.wait_for_log("listening on")
        pid = server.workers()[0]
        if fault == "hangs":
            os.kill(pid, signal.SIGRTMIN)
            expected = "its event loop has not turned for 2 s"
        else:
            os.kill(pid, signal.SIGSTOP)
            expected = "has not answered within 2 s"
        wait_until_replaced(server, pid)
        assert f"worker {pid}" in server.log.read_text() and expected in server.log.read_text()
        body = {"sequences": [{"steps": [[0.0] * 12], "session": "a"}]}
        assert httpx.post(f"{server.url}/predict", json=body).status_code == 200
        assert server.stop() == 0
