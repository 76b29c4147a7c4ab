"""Workers whose event loop hangs, or that are stopped, are replaced; another one answers meanwhile."""

import contextlib
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import START_S, Server, running

HANG_S = 4
BODY = {"sequences": [{"steps": [[0.0] * 12], "session": "a"}]}
# Python runs this at the start of each process: the event loop hangs at a signal.
HANG = """
import signal, time
signal.signal(signal.SIGRTMIN, lambda *_: time.sleep(10_000))
"""


def wait_until_replaced(server: Server, pids: set[int]) -> None:
    deadline = time.monotonic() + START_S
    while pids & set(server.workers()) or len(server.workers()) < 3 or not server.is_ready():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.1)


def answer(server: Server) -> int:
    """The status of a request; sent again while no worker accepts it."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(f"{server.url}/predict", json=BODY, timeout=5).status_code
    raise AssertionError(server.log.read_text())


def test_they_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two faults at once: the third worker answers."""
    (tmp_path / "sitecustomize.py").write_text(HANG)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with running(tmp_path, workers="3", worker_hang_s=str(HANG_S)) as server:
        server.wait_for_log("listening on")
        hanging, stopped, _ = server.workers()
        os.kill(hanging, signal.SIGRTMIN)
        os.kill(stopped, signal.SIGSTOP)
        assert answer(server) == 200
        wait_until_replaced(server, {hanging, stopped})
        log = server.log.read_text()
        assert f"worker {hanging}: its event loop has not turned for {HANG_S} s" in log
        assert f"worker {stopped} has not answered within {HANG_S} s" in log
        assert answer(server) == 200
        assert server.stop() == 0
