"""The session clock does not jump when the wall clock is set."""

from pathlib import Path

import pytest

from service.errors import StartupError
from service.sessions.clock import FILE, SteadyClock, boot_id, since_boot


class Machine:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall, self.up, self.boot = 1_700_000_000.0, 50.0, "first"

    def clock(self, folder: Path | None = None) -> SteadyClock:
        return SteadyClock(folder, wall=lambda: self.wall, steady=lambda: self.up, boot=lambda: self.boot)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


@pytest.mark.promise(11)
@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_setting_the_clock_moves_no_session(jump: float, tmp_path: Path) -> None:
    machine = Machine()
    running = machine.clock(tmp_path)
    before = running()
    machine.wall += jump
    machine.advance(10)
    assert running() == before + 10
    assert machine.clock(tmp_path)() == before + 10, "a worker, or a server, that starts now agrees"


def test_after_a_boot_the_wall_clock_is_read_again(tmp_path: Path) -> None:
    machine = Machine()
    machine.clock(tmp_path)
    machine.boot, machine.up = "second", 5.0
    machine.wall += 3600
    assert machine.clock(tmp_path)() == machine.wall
    machine.wall += 99
    assert machine.clock(tmp_path)() == machine.wall - 99


def test_the_stored_offset_of_an_older_server_is_used(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"boot_id": "first", "offset_s": 1600000000.5}')
    assert Machine().clock(tmp_path)() == 1600000050.5


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    machine = Machine()
    assert machine.clock(tmp_path)() == machine.wall
    machine.wall += 99
    assert machine.clock(tmp_path)() == machine.wall - 99


def test_a_folder_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="session clock"):
        Machine().clock(tmp_path / "file" / "sessions")


def test_without_a_folder_the_offset_is_that_of_its_start() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 999
    assert clock() == machine.wall - 999


def test_the_clocks_of_this_machine_can_be_read() -> None:
    assert since_boot() > 0 and len(boot_id()) > 10
