"""Copies of the versions that sessions may be on, so that a deleted version outlives a restart.

    <root>/<fingerprint>/<name>/<version>/{model.onnx, model.json, …}

A copy is written from the bytes that were loaded. It knows files; `retirement` decides which are needed.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.file_lock import locked
from service.manifest import MANIFEST_FILE
from service.repository import initial_states
from service.repository.folders import find_versions
from service.repository.snapshot import Snapshot
from service.sessions import Binding

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class RetainedCopies:
    """The copies below one folder, which all workers share."""

    root: Path

    def keep(self, snapshot: Snapshot, binding: Binding) -> None:
        """Write the copy of a version, unless there is one. A failure is logged: it ends no load."""
        folder = self.folder(binding)
        if folder.is_dir() or snapshot.folder.is_relative_to(
            self.root
        ):  # itself a copy, perhaps a changed one
            return
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _new_folder(self.root) as new:
                version = Path(new) / binding.version
                version.mkdir(mode=0o700)
                snapshot.content.write(version)
                (version / MANIFEST_FILE).write_bytes(snapshot.manifest)
                initial_states.write_files(snapshot.states, version)
                with locked(self.root):  # or another worker removes the empty parents
                    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    version.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another worker was first
                logger.warning(
                    "%s: no copy of it is kept: its sessions end with it if it is removed: %s",
                    snapshot.folder,
                    error.strerror,
                )

    def folder(self, binding: Binding) -> Path:
        """Where the copy of a version is, if there is one."""
        return self.root / binding.graph.hex() / binding.model / binding.version

    def __iter__(self) -> Iterator[Binding]:
        """The versions that have a copy. Folders with other names are skipped."""
        for folder in sorted(self.root.glob("*")):
            try:
                fingerprint = bytes.fromhex(folder.name)
            except ValueError:
                continue
            for version in find_versions(folder):
                yield Binding(version.parent.name, version.name, fingerprint)

    def remove(self, binding: Binding) -> None:
        """Delete a copy, if it is there; another worker may be deleting it as well."""
        folder = self.folder(binding)
        with contextlib.suppress(OSError), _new_folder(self.root) as trash, locked(self.root):
            folder.rename(Path(trash) / folder.name)  # at once: half a copy would be taken for a whole one
            for empty in (folder.parent, folder.parent.parent):
                empty.rmdir()  # fails if it holds another version


def _new_folder(root: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder to write in, which is deleted at the end of the block."""
    return tempfile.TemporaryDirectory(dir=root, prefix=".", ignore_cleanup_errors=True)
