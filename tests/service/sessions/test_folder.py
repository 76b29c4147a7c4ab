"""The sessions' folder and its files are for their owner only, whatever the umask."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sessions.clock import SteadyClock
from service.sessions.folder import make_private
from service.sessions.store import Store
from service.sessions.store.lmdb import LmdbStore
from tests.service.sessions.store.records import ROOMY, run


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    old = os.umask(0o002)
    yield
    os.umask(old)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}


async def nothing(_: Store) -> None:
    """The store is opened and closed."""


def test_folder_and_files_are_created_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    SteadyClock(folder)
    run(LmdbStore(folder, ROOMY), nothing)
    assert modes(folder) == {"sessions": 0o700, "data.mdb": 0o600, "lock.mdb": 0o600, "clock.json": 0o600}


def test_a_folder_of_sessions_that_others_could_read_is_tightened(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    run(LmdbStore(folder, ROOMY), nothing)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    run(LmdbStore(folder, ROOMY), nothing)
    assert modes(folder) == {"sessions": 0o700, "data.mdb": 0o600, "lock.mdb": 0o600}


def test_a_folder_with_something_else_in_it_keeps_its_mode(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as `/tmp`, or the folder of a user's projects."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    (folder / "report").touch(0o644)
    with caplog.at_level(logging.WARNING):
        make_private(folder)
    assert modes(folder) == {"shared": 0o755, "report": 0o644}
    assert "directory of their own" in caplog.text
