"""A start says what is true, a failed one says why, once; a stop ends, whatever state the workers are in."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import ROOT, STOP_S, Server, running
from tests.service import graphs


def failed_start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`cellgate serve` in a folder, to its end; modules in the folder come before those installed."""
    environ = {f"CELLGATE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=folder, env={"PYTHONPATH": f"{folder}:{ROOT}"} | environ,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("workers", ["1", "2"])
def test_listening_is_said_once_and_not_before_it_is_so(workers: str, tmp_path: Path) -> None:
    with running(tmp_path, workers=workers) as server:
        server.wait_for_log("listening on")
        said = [line["message"] for line in server.log_lines()]
    listening = f"listening on http://127.0.0.1:{server.port}"
    assert said.count(listening) == 1
    ready = [place for place, message in enumerate(said) if message.startswith("ready: ")]
    assert len(ready) == int(workers) and max(ready) < said.index(listening)


def broken_manifest(folder: Path) -> Path:
    version = folder / "models" / "broken" / "1"
    version.mkdir(parents=True)
    (version / "model.json").write_text("{")
    return folder / "models"


def without_graph(folder: Path) -> Path:
    (graphs.SUMMING[0].write(folder / "models") / "model.onnx").unlink()
    return folder / "models"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (lambda folder: folder, "no model in "),
        (broken_manifest, "model.json: Invalid JSON"),
        (without_graph, "model.onnx: no such file"),
    ],
)
def test_a_start_without_models_is_refused_in_one_line_and_leaves_nothing(
    models: Any, expected: str, workers: str, tmp_path: Path
) -> None:
    """Each worker told it, after `listening on`; an uninvited `sessions/` stayed behind."""
    folder = tmp_path / "here"
    folder.mkdir()
    ended = failed_start(folder, models_dir=str(models(tmp_path)), workers=workers)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ") and expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(folder.iterdir())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_cannot_be_is_told_in_one_line(workers: str, models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "x")
    ended = failed_start(tmp_path, models_dir=str(models), workers=workers, sessions_dir=place)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"Error: session clock {place}/clock.json: ")
    assert "Traceback" not in ended.stderr and "listening on" not in ended.stderr


def test_a_missing_redis_client_is_told_in_one_line(models: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "redis"
    shadow.mkdir()
    (shadow / "__init__.py").write_text("raise ImportError('not installed')")
    ended = failed_start(tmp_path, models_dir=str(models), store="redis", workers="2")
    assert ended.returncode == 1
    assert ended.stderr == "Error: the redis client is not installed: pip install 'cellgate[redis]'\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_graph_that_does_not_load_ends_all_workers(workers: str, tmp_path: Path) -> None:
    folder = graphs.SUMMING[0].write(tmp_path / "models")
    (folder / "model.onnx").write_text("nothing")
    ended = failed_start(tmp_path, models_dir=str(tmp_path / "models"), workers=workers)
    assert ended.returncode == 3
    assert "model.onnx" in ended.stderr
    assert "Traceback" not in ended.stderr and "listening on" not in ended.stderr


def test_a_worker_that_dies_is_a_warning(tmp_path: Path) -> None:
    with running(tmp_path, workers="2", log_level="warning") as server:
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(f"worker {victim} died .SIGKILL.")
        assert server.stop() == 0
        told = [line for line in server.log_lines() if "died" in line["message"]]
    assert [line["level"] for line in told] == ["warning"]


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as server:
        server.wait_for_log("listening on")
        victim = server.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        server.wait_for_log(f"worker {victim} has not answered within 5 s")
        server.wait_for_log(f"worker {victim} died .SIGKILL.")
        assert server.stop() == 0


def test_a_worker_that_is_slow_to_start_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the imports took more than the five seconds that a worker had to answer in."""
    slowly = "import sys, time\nif '--multiprocessing-fork' in sys.argv: time.sleep(7)\n"
    (tmp_path / "sitecustomize.py").write_text(slowly)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running(tmp_path, workers="2") as server:
        server.wait_for_log("listening on")
        assert "died" not in server.log.read_text()
        assert len([line for line in server.log_lines() if line["message"].startswith("ready: ")]) == 2


def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    """The parent waited for it for ever; a worker whose event loop hangs is deaf in the same way."""
    with running(tmp_path, workers="2", drain_s="0") as server:
        workers = server.workers()
        os.kill(workers[0], signal.SIGSTOP)
        assert server.stop() == 0
        assert f"worker {workers[0]} has not stopped" in server.log.read_text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@contextlib.contextmanager
def request_under_way(server: Server) -> Iterator[socket.socket]:
    """A request whose body, {}, the server has begun to wait for."""
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
    with running(tmp_path, workers=workers, **SLOW) as server, request_under_way(server):
        server.process.terminate()
        server.wait_for_log("stopping: 1 requests")
        assert server.stop() == 0  # within STOP_S


def test_control_c_reaches_the_workers_once(tmp_path: Path) -> None:
    """A terminal sends it to all of them; the parent's SIGTERM after it was taken for a second signal."""
    with running(tmp_path, workers="2", **SLOW) as server, request_under_way(server) as slow:
        os.killpg(server.process.pid, signal.SIGINT)
        server.wait_for_log("stopping: 1 requests")
        server.wait_for_log("Finished server process")  # the worker that has nothing to do
        server.wait_for_log("(?s)Terminated child.*Terminated child")
        for _ in range(100):  # a worker that no longer waits for requests no longer listens either
            assert httpx.get(f"{server.url}/health/ready").status_code == 503
        slow.sendall(b"{}")
        assert slow.recv(1000).startswith(b"HTTP/1.1 422 ")
        assert server.process.wait(STOP_S) == 0
