"""The shared folder: removed with its server, or by the next one, but never while it is in use."""

import os
from pathlib import Path

import pytest

from service.server.folder import MARK, PREFIX, shared_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def abandoned(root: Path, name: str = f"{PREFIX}abcdefgh", *files: str) -> Path:
    folder = root / name
    folder.mkdir(mode=0o700)
    for file in (MARK, *files):
        (folder / file).write_text("x")
    return folder


def test_it_is_removed_at_the_end_and_belongs_to_this_user_alone(temporary: Path) -> None:
    with shared_folder() as folder:
        assert folder.parent == temporary and folder.stat().st_mode & 0o777 == 0o700
        (folder / "rates").write_text("1")
    assert not list(temporary.iterdir())


def test_those_of_killed_servers_are_removed_and_those_in_use_are_not(temporary: Path) -> None:
    left = abandoned(temporary, f"{PREFIX}abcdefgh", "rates")
    (left / "cellgate-trial-x").mkdir()
    with shared_folder() as one, shared_folder() as other:
        assert not left.exists()
        assert one.is_dir() and other.is_dir()


def test_what_is_not_a_folder_of_a_server_of_this_user_stays(temporary: Path) -> None:
    new = temporary / f"{PREFIX}not-locked-yet"
    new.mkdir(mode=0o700)
    others = abandoned(temporary, f"{PREFIX}readable")
    others.chmod(0o755)
    elsewhere = abandoned(temporary, "cellgate-models")
    (temporary / f"{PREFIX}file").write_text("")
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    before = set(temporary.iterdir())
    with shared_folder():
        pass
    assert set(temporary.iterdir()) == before and (elsewhere / MARK).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_folder_of_another_user_stays(temporary: Path) -> None:
    left = abandoned(temporary)
    os.chown(left, 12345, 12345)
    with shared_folder():
        assert left.exists()
