"""Copies of versions: written from what was loaded, found again by their fingerprint, deleted whole."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.repository.retained import RetainedCopies
from service.repository.snapshot import Snapshot, digest
from service.sessions import Binding
from tests.service import harmful_graphs


@pytest.fixture
def copies(tmp_path: Path) -> RetainedCopies:
    return RetainedCopies(tmp_path / "sessions" / "retained-models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return harmful_graphs.scaled(tmp_path / "models" / "scaled" / "1", 1.0)


def test_a_copy_has_every_file_of_the_version_and_no_other_user_can_read_it(
    copies: RetainedCopies, folder: Path
) -> None:
    binding = Binding("scaled", "1", b"12345678")
    snapshot = Snapshot.read(folder)
    for path in folder.iterdir():
        path.write_bytes(b"changed")
    assert list(copies) == []
    copies.keep(snapshot, binding)
    copies.keep(snapshot, binding)
    assert digest(copies.folder(binding)) == snapshot.digest
    assert list(copies) == [binding]
    assert copies.root.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in copies.root.iterdir()] == [b"12345678".hex()], "nothing temporary is left"


def test_copies_of_one_version_with_other_weights_are_apart(copies: RetainedCopies, folder: Path) -> None:
    snapshot = Snapshot.read(folder)
    old, new = Binding("scaled", "1", bytes(8)), Binding("scaled", "1", bytes([1] * 8))
    for binding in (old, new):
        copies.keep(snapshot, binding)
    (copies.root / "no fingerprint").mkdir()
    copies.remove(old)
    copies.remove(old)
    assert list(copies) == [new] and not (copies.root / bytes(8).hex()).exists()


def test_workers_that_delete_copies_do_not_hinder_one_that_writes(
    copies: RetainedCopies, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The empty parents of a copy were removed under the worker that had just made them for its own."""
    snapshot = Snapshot.read(folder)

    def write_and_delete(binding: Binding) -> int:
        kept = 0
        for _ in range(100):
            copies.keep(snapshot, binding)
            kept += binding in copies
            copies.remove(binding)
        return kept

    with ThreadPoolExecutor(2) as workers:
        versions = [Binding("scaled", version, bytes(8)) for version in ("1", "2")]
        assert list(workers.map(write_and_delete, versions)) == [100, 100]
    assert "no copy of it is kept" not in caplog.text
    assert not list(copies) and not list(copies.root.iterdir()), "nothing is left"


def test_a_copy_that_cannot_be_written_is_reported(
    copies: RetainedCopies, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies.root.parent.mkdir()
    copies.root.write_text("a file is where the folder should be")
    with caplog.at_level(logging.WARNING):
        copies.keep(Snapshot.read(folder), Binding("scaled", "1", bytes(8)))
    assert "no copy of it is kept" in caplog.text and os.fspath(folder) in caplog.text
    assert list(copies) == []
