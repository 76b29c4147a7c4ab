"""Shared files and memory: created once, seen by everyone that opens them, refused when there is no room."""

import os
from pathlib import Path

import pytest

from service.shared_memory import open_file, open_memory


def test_what_one_writes_the_other_reads(tmp_path: Path) -> None:
    with open_memory(tmp_path / "memory", 8) as one, open_memory(tmp_path / "memory", 8) as other:
        assert one[:] == bytes(8)
        one[3] = 7
        assert other[3] == 7


def test_the_file_holds_all_its_bytes(tmp_path: Path) -> None:
    """A write to a hole would kill the process when the disk is full."""
    with open_memory(tmp_path / "memory", 1 << 20):
        stat = os.stat(tmp_path / "memory")
        assert stat.st_size == 1 << 20
        assert stat.st_blocks * 512 >= 1 << 20


def test_only_the_owner_can_read_a_file(tmp_path: Path) -> None:
    os.close(open_file(tmp_path / "file"))
    assert os.stat(tmp_path / "file").st_mode & 0o777 == 0o600


def test_a_folder_that_is_missing_and_a_size_that_is_too_large_raise_oserror(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        open_file(tmp_path / "missing" / "file")
    with pytest.raises(OSError):
        open_memory(tmp_path / "memory", 1 << 62)
    assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is left open"
