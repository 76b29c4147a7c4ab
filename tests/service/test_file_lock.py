"""Locks of files and folders: one holder, or several that share; none on a file system without them."""

import errno
import os
import threading
from pathlib import Path

import pytest

from service import file_lock
from service.file_lock import locked, try_lock


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


@pytest.mark.parametrize(
    ("first", "second", "is_free"), [(0, 0, False), (1, 0, False), (0, 1, False), (1, 1, True)]
)
def test_a_lock_has_one_holder_or_several_that_share(
    tmp_path: Path, first: int, second: int, is_free: bool
) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    assert try_lock(one, shared=bool(first))
    assert try_lock(other, shared=bool(second)) is is_free
    os.close(one)
    assert try_lock(other)
    os.close(other)


def test_a_block_waits_for_the_holder_and_releases_at_its_end(tmp_path: Path) -> None:
    holder = opened(tmp_path)
    assert try_lock(holder)
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path):
            order.append("held")

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.05)
    order.append("released")
    os.close(holder)
    waiting.join(60)
    assert order == ["released", "held"]
    again = opened(tmp_path)
    assert try_lock(again)
    os.close(again)


def test_without_locks_a_block_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(file_lock, "flock", unsupported)
    with locked(tmp_path):
        pass
    fd = opened(tmp_path)
    with pytest.raises(OSError, match="not supported"):
        try_lock(fd)
    os.close(fd)
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none"):
        pass
