"""What is loaded is what was read: the fingerprint covers every file, and the signature changes with each."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE
from service.repository.snapshot import Snapshot, digest, fingerprint, num_bytes, signature
from tests.service import graphs
from tests.service.harmful_graphs import scaled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return scaled(tmp_path / "scaled" / "1", 1.0)


def test_of_a_graph_alone_the_fingerprint_is_that_of_its_file(tmp_path: Path) -> None:
    """As it was when sessions that are stored today began."""
    folder = graphs.UNIFORM.write(tmp_path)
    assert fingerprint(folder) == hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]


def test_the_fingerprint_covers_the_external_files(folder: Path, tmp_path: Path) -> None:
    other = scaled(tmp_path / "scaled" / "2", 5.0)
    assert (folder / GRAPH_FILE).read_bytes() == (other / GRAPH_FILE).read_bytes()
    assert fingerprint(folder) != fingerprint(other)
    shutil.copy(other / "weights.bin", folder)
    assert fingerprint(folder) == fingerprint(other)


def test_a_snapshot_is_what_the_hashes_are_of(folder: Path) -> None:
    snapshot = Snapshot.read(folder)
    assert snapshot.content.graph == (folder / GRAPH_FILE).read_bytes()
    assert snapshot.content.files == {"weights.bin": (folder / "weights.bin").read_bytes()}
    assert (snapshot.fingerprint, snapshot.digest) == (fingerprint(folder), digest(folder))
    sizes = [(folder / name).stat().st_size for name in (GRAPH_FILE, "weights.bin")]
    assert num_bytes(folder) == sum(sizes)


def test_the_digest_covers_the_manifest_and_the_fingerprint_does_not(folder: Path) -> None:
    before = Snapshot.read(folder)
    (folder / MANIFEST_FILE).write_text("{}")
    after = Snapshot.read(folder)
    assert after.fingerprint == before.fingerprint and after.digest != before.digest


@pytest.mark.parametrize("name", [MANIFEST_FILE, GRAPH_FILE, "weights.bin"])
def test_a_file_that_is_missing_or_no_file_is_refused(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(StartupError, match=f"{name}: No such file"):
        Snapshot.read(folder)
    os.mkfifo(folder / name)
    with pytest.raises(StartupError, match="not a regular file"):
        Snapshot.read(folder)


def test_a_file_larger_than_the_memory_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "weights.bin", 1 << 42)
    with pytest.raises(StartupError, match="more than this machine's memory"):
        Snapshot.read(folder)


def rewrite(path: Path) -> None:
    """In place, to the same size, with the same time of modification."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    """By rename, with the same content and the same time of modification."""
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("change", [rewrite, replace, Path.touch, Path.unlink])
@pytest.mark.parametrize("name", [MANIFEST_FILE, GRAPH_FILE, "weights.bin"])
def test_the_signature_changes_with_every_file(
    name: str, change: Callable[[Path], None], folder: Path
) -> None:
    before = signature(folder)
    assert before == signature(folder)
    change(folder / name)
    assert signature(folder) != before


def test_the_signature_changes_when_the_folder_is_swapped(folder: Path, tmp_path: Path) -> None:
    """By rename, or by a link that is switched, whatever the times of the files are."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    before = signature(folder)
    folder.rename(tmp_path / "old")
    folder.symlink_to(tmp_path / "old")
    assert signature(folder) == before, "the same files"
    folder.unlink()
    folder.symlink_to(other)
    assert signature(folder) != before


def test_a_version_without_graph_or_manifest_has_no_signature(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    assert signature(folder) is None
    assert signature(folder.parent / "2") is None


def test_a_graph_that_arrives_piece_by_piece_has_a_new_signature_each_time(folder: Path) -> None:
    whole = (folder / GRAPH_FILE).read_bytes()
    (folder / "weights.bin").rename(folder / ".weights")
    (folder / GRAPH_FILE).write_bytes(whole[: len(whole) // 2])
    signatures = [signature(folder)]
    (folder / GRAPH_FILE).write_bytes(whole)
    signatures.append(signature(folder))
    (folder / ".weights").rename(folder / "weights.bin")
    signatures.append(signature(folder))
    assert len(set(signatures)) == 3 and None not in signatures
