"""A release is made from a clean checkout whose changes are described."""

import subprocess
from pathlib import Path

import pytest

from deploy.release import ReleaseError, check, write_checksums


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "cellgate"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-11-30\n")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    as_nobody = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*as_nobody, "commit", "--quiet", "--message", "All"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def test_a_clean_checkout_has_a_version(checkout: Path) -> None:
    assert check(checkout) == "1.2.3"


def test_changes_that_are_not_committed_are_refused(checkout: Path) -> None:
    (checkout / "more").write_text("")
    with pytest.raises(ReleaseError, match=r"not committed:\n\?\? more"):
        check(checkout)


def test_changes_that_are_not_described_are_refused(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    commit(checkout)
    with pytest.raises(ReleaseError, match=r"no section '## \[1\.2\.3\] - YYYY-MM-DD'"):
        check(checkout)


def test_checksums_are_as_sha256sum_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.json").write_bytes(b"b")
    write_checksums([tmp_path / "a.whl", tmp_path / "b.json"], tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "a.whl: OK\nb.json: OK\n"
