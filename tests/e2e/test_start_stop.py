"""A start logs its address, a failed one its reason, once; a stop ends whatever the workers do."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.server.process import IGNORED
from tests.e2e.server import ROOT, STOP_S, Server, running
from tests.service import graphs


def failed_start(
    folder: Path, *, temporary: str = tempfile.gettempdir(), **settings: str
) -> subprocess.CompletedProcess[str]:
    """`cellgate serve` in a folder, until it exits; modules in the folder shadow installed ones."""
    environ = {f"CELLGATE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=folder, env={"PYTHONPATH": f"{folder}:{ROOT}", "TMPDIR": temporary} | environ,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("workers", ["1", "2"])
def test_listening_is_logged_once_after_every_worker_is_ready(workers: str, tmp_path: Path) -> None:
    with running(tmp_path, workers=workers) as server:
        server.wait_for_log("listening on")
        messages = [line["message"] for line in server.log_lines()]
    listening = f"listening on http://127.0.0.1:{server.port}"
    assert messages.count(listening) == 1
    ready = [place for place, message in enumerate(messages) if message.startswith("ready: ")]
    assert len(ready) == int(workers) and max(ready) < messages.index(listening)


def broken_manifest(folder: Path) -> Path:
    version = folder / "models" / "broken" / "1"
    version.mkdir(parents=True)
    (version / "model.json").write_text("{")
    return folder / "models"


def without_graph(folder: Path) -> Path:
    (graphs.SUMMING[0].write(folder / "models") / "model.onnx").unlink()
    return folder / "models"


@pytest.mark.parametrize(
    ("models", "expected", "workers"),
    [
        (lambda folder: folder, "no model in ", "1"),
        (lambda folder: folder, "no model in ", "2"),
        (broken_manifest, "model.json: Invalid JSON", "2"),
        (without_graph, "model.onnx: no such file", "2"),
    ],
)
def test_a_start_without_models_fails_with_one_line_and_creates_nothing(
    models: Any, expected: str, workers: str, tmp_path: Path
) -> None:
    """Each worker logged it, after `listening on`, and an empty `sessions/` was left behind."""
    folder = tmp_path / "here"
    folder.mkdir()
    ended = failed_start(folder, models_dir=str(models(tmp_path)), workers=workers)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ") and expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(folder.iterdir())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_cannot_be_created_is_reported_in_one_line(
    workers: str, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "x")
    ended = failed_start(tmp_path, models_dir=str(models), workers=workers, sessions_dir=place)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"Error: session clock {place}/clock.json: ")
    assert "Traceback" not in ended.stderr and "listening on" not in ended.stderr


def test_a_missing_redis_client_is_reported_in_one_line(models: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "redis"
    shadow.mkdir()
    (shadow / "__init__.py").write_text("raise ImportError('not installed')")
    ended = failed_start(tmp_path, models_dir=str(models), store="redis", workers="2")
    assert ended.returncode == 1
    assert ended.stderr == "Error: the redis client is not installed: pip install redis\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_graph_that_does_not_load_ends_all_workers(workers: str, tmp_path: Path) -> None:
    folder = graphs.SUMMING[0].write(tmp_path / "models")
    (folder / "model.onnx").write_text("nothing")
    ended = failed_start(tmp_path, models_dir=str(tmp_path / "models"), workers=workers)
    assert ended.returncode == 3
    assert "model.onnx" in ended.stderr
    assert "Traceback" not in ended.stderr and "listening on" not in ended.stderr


FAILS = """
import sys
from pathlib import Path
from service.server import run, worker
from service.settings import Settings

class Failing(worker.WorkerApp):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        begin = worker.drain_on_signals
        worker.drain_on_signals = lambda *each: (begin(*each), self.fail())

worker.WorkerApp = Failing
run(Settings(port=0, workers=1, store="memory", models_dir=Path(sys.argv[1])))
"""


def test_a_server_that_stops_because_of_a_bug_does_not_end_with_status_0(models_dir: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILS, str(models_dir)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 4, ended.stderr
    assert "inference loop has failed" in ended.stderr and "exit status 4" in ended.stderr


STOPS = """
import os, signal, sys
def hook(event, arguments):
    if event == "socket.bind" and not sent and "serve" in sys.argv:
        sent.append(True)
        os.kill(os.getpid(), signal.SIGTERM)
sent = []
sys.addaudithook(hook)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_that_is_asked_for_during_the_first_checks_ends_with_status_0(
    workers: str, models: Path, tmp_path: Path
) -> None:
    """It ended by the signal, and left its folder in the temporary directory."""
    (tmp_path / "sitecustomize.py").write_text(STOPS)
    (tmp_path / "tmp").mkdir()
    temporary = str(tmp_path / "tmp")
    ended = failed_start(tmp_path, temporary=temporary, models_dir=str(models), workers=workers)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and not list((tmp_path / "tmp").glob("cellgate*"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_signals_without_a_meaning_change_nothing(workers: str, tmp_path: Path) -> None:
    with running(tmp_path, workers=workers) as server:
        server.wait_for_log("listening on")
        before = server.workers()
        for pid in {server.process.pid, *before}:
            for number in (*IGNORED, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG):
                os.kill(pid, number)
        for _ in range(20):
            assert httpx.get(f"{server.url}/health/ready", timeout=30).status_code == 200
        assert server.workers() == before
        assert server.stop() == 0
        assert "died" not in server.log.read_text()


def test_a_worker_that_is_slow_to_start_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the imports took more than the five seconds in which a worker had to answer."""
    slowly = "import sys, time\nif '--multiprocessing-fork' in sys.argv: time.sleep(7)\n"
    (tmp_path / "sitecustomize.py").write_text(slowly)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(tmp_path, workers="2") as server:
        server.wait_for_log("listening on")
        assert "died" not in server.log.read_text()
        assert len([line for line in server.log_lines() if line["message"].startswith("ready: ")]) == 2


def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    """The parent waited for it without limit; a worker whose event loop hangs ignores SIGTERM too."""
    with running(tmp_path, workers="2", drain_s="0") as server:
        workers = server.workers()
        os.kill(workers[0], signal.SIGSTOP)
        assert server.stop() == 0
        assert f"worker {workers[0]} has not stopped" in server.log.read_text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@contextlib.contextmanager
def request_in_progress(server: Server) -> Iterator[socket.socket]:
    """A request whose body, {}, the server waits for."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
        assert slow.recv(1000).startswith(b"HTTP/1.1 100 ")
        yield slow


SLOW = {"drain_s": "1000", "body_timeout_s": "1000"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_does_not_wait_for_requests(workers: str, tmp_path: Path) -> None:
    with running(tmp_path, workers=workers, **SLOW) as server, request_in_progress(server):
        server.process.terminate()
        server.wait_for_log("stopping: 1 requests")
        assert server.stop() == 0  # within STOP_S


def test_control_c_counts_as_one_signal_in_the_workers(tmp_path: Path) -> None:
    """A terminal sends it to every process; the parent's SIGTERM counted as a second signal."""
    with running(tmp_path, workers="2", **SLOW) as server, request_in_progress(server) as slow:
        os.killpg(server.process.pid, signal.SIGINT)
        server.wait_for_log("stopping: 1 requests")
        server.wait_for_log("Finished server process")  # the idle worker
        server.wait_for_log("(?s)Terminated child.*Terminated child")
        for _ in range(100):  # a worker that stopped waiting for its request would no longer listen
            assert httpx.get(f"{server.url}/health/ready", timeout=60).status_code == 503
        slow.sendall(b"{}")
        assert slow.recv(1000).startswith(b"HTTP/1.1 422 ")
        assert server.process.wait(STOP_S) == 0
