"""Setting the machine's clock while a server runs does not affect its sessions."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import first, predict
from tests.e2e.server import START_S, Server

TTL_S = 300
DAY_S = 86_400
# Runs first in each process of the server: the wall clock is shifted by the number in a file.
MACHINE = """
import pathlib, time

def settable(clock, per_s):
    setting = pathlib.Path(__file__).with_name("setting")

    def now(*which):
        is_wall = not which or which[0] == time.CLOCK_REALTIME
        return clock(*which) + is_wall * int(setting.read_text()) * per_s

    return now

time.time = settable(time.time, 1)
time.time_ns = settable(time.time_ns, 10**9)
time.clock_gettime = settable(time.clock_gettime, 1)
"""


class Machine:
    """A machine whose clock can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sitecustomize.py").write_text(MACHINE)
        self.set_clock(0)

    def set_clock(self, ahead_s: int) -> None:
        """Set the clock `ahead_s` seconds ahead of the true time."""
        new = self.folder / "setting.new"
        new.write_text(str(ahead_s))
        new.replace(self.folder / "setting")  # atomic


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "machine"
    folder.mkdir()
    return Machine(folder)


@pytest.fixture
def server(machine: Machine, tmp_path: Path) -> Iterator[Server]:
    settings = {"CELLGATE_WORKERS": "2", "CELLGATE_SESSION_TTL_S": str(TTL_S)}
    started = Server(tmp_path, settings | {"PYTHONPATH": str(machine.folder)})
    try:
        started.start()
        yield started
    finally:
        started.reap()


@pytest.mark.promise(11)
@pytest.mark.parametrize("ahead_s", [DAY_S, -DAY_S], ids=["a day ahead", "a day back"])
def test_setting_the_machines_clock_neither_ends_a_session_nor_extends_it(
    server: Server, machine: Machine, utterance: list[list[float]], ahead_s: int
) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        one_shot = first(predict(client, utterance))
        first(predict(client, utterance[:5], session="call", at=0))
        client.put("/sessions/short", json={"ttl_s": 2})
        machine.set_clock(ahead_s)
        shown = client.get("/sessions/call").json()
        assert 0 <= shown["idle_s"] < TTL_S and 0 < shown["expires_in_s"] <= TTL_S
        assert first(predict(client, utterance[5:], session="call", at=5))["output"] == one_shot["output"]
        deadline = time.monotonic() + START_S
        while client.get("/sessions/short").status_code == 200:
            assert time.monotonic() < deadline, "it does not expire"
        assert client.get("/sessions/short").json()["reason"] == "expired"
        server.kill()  # in the same boot
        server.start()
        assert first(predict(client, utterance[5:], session="call", at=5))["output"] == one_shot["output"]
