"""A parent process that is killed takes its workers along, however far they have started."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import StartupError
from service.server.folder import PREFIX
from service.server.sockets import WorkerSocket
from tests.e2e.server import START_S, Server

# In each worker: at a point of its start, leave a file with its process id and wait for the file `go`.
HOLD = """
import os, sys, time
folder, point = os.environ["HOLD_IN"], os.environ["HOLD_AT"]
held = []
def hold():
    held.append(True)
    open(f"{folder}/held-{os.getpid()}", "w").close()
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.01)
def hook(event, arguments):
    if not held and point in " ".join([event, *map(str, arguments[:1])]):
        hold()
if "--multiprocessing-fork" in sys.argv:
    sys.addaudithook(hook)
    if point == "interpreter":
        hold()
"""
POINTS = {
    "interpreter": "before any import",
    "import uvicorn": "during the imports",
    "socket.bind": "before the port is bound",
    "model.onnx": "while a model is loaded",
}


def until(holds: Callable[[], bool], server: Server) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Whether a process has ended. Its new parent may not have noticed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return True


def port_is_free(server: Server) -> bool:
    try:
        WorkerSocket.reserve("127.0.0.1", server.port, patience_s=0).close()
    except StartupError:
        return False
    return True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of two workers, not yet started, with a temporary directory of its own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    made = Server(tmp_path, {"CELLGATE_WORKERS": "2"})
    yield made
    made.reap()


@pytest.mark.parametrize("point", POINTS, ids=POINTS.get)
def test_workers_whose_parent_is_killed_during_their_start_end(
    point: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They served for ever, and held the port: their new parent was the one that they watched."""
    (server.folder / "sitecustomize.py").write_text(HOLD)
    for name, value in {"PYTHONPATH": server.folder, "HOLD_IN": server.folder, "HOLD_AT": point}.items():
        monkeypatch.setenv(name, str(value))
    server.launch()
    until(lambda: len(list(server.folder.glob("held-*"))) == 2, server)
    workers = [int(path.name.rpartition("-")[2]) for path in server.folder.glob("held-*")]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    (server.folder / "go").touch()
    until(lambda: all(map(has_ended, workers)), server)
    until(lambda: port_is_free(server), server)


def test_workers_that_serve_or_are_stopped_end_with_their_parent_and_the_next_server_cleans_up(
    server: Server,
) -> None:
    server.start()
    server.wait_for_log("listening on")
    workers = server.workers()
    (left,) = (server.folder / "tmp").glob(f"{PREFIX}*")
    os.kill(workers[0], signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    until(lambda: all(map(has_ended, workers)), server)
    assert left.exists()
    server.start()
    assert not left.exists()
    assert server.stop() == 0
    assert not list((server.folder / "tmp").glob("cellgate*"))
