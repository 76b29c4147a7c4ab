"""Model folders on disk: which versions there are, their manifests, and their fingerprints. Loads no graph.

models/<name>/<version>/{model.onnx, model.json}
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from service.errors import StartupError, UnknownModel, UnknownVersion
from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from service.names import MODEL_NAME, MODEL_VERSION
from service.repository import initial_states
from service.repository.binding import bind
from service.repository.graph_file import GraphFile
from service.repository.proposal.open_fields import open_fields
from service.repository.snapshot import fingerprint
from service.sequence import State
from service.sessions import Binding
from service.state import StateLayout


def find_versions(root: Path) -> Iterator[Path]:
    """Version folders below `root`, in order. Folders with other names are skipped."""
    for model in sorted(
        path for path in root.glob("*") if MODEL_NAME.fullmatch(path.name) and _is_folder(path)
    ):
        versions = [p for p in model.glob("*") if MODEL_VERSION.fullmatch(p.name) and _is_folder(p)]
        yield from sorted(versions, key=lambda path: int(path.name))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a folder that lets this user list it, but not enter it
        return False


def list_versions(root: Path) -> list[Path]:
    """Version folders below `root`, in order. Raises StartupError if there are none."""
    folders = list(find_versions(root))
    if not folders:
        raise StartupError(
            f"no model in {root.resolve()}: expected <name>/<version>/{GRAPH_FILE} and {MANIFEST_FILE}"
        )
    return folders


def check_folders(root: Path) -> None:
    """Check that there is a version below `root` with a graph and a valid manifest.

    Raises StartupError, with the fault of the first version.
    """
    faults = []
    for folder in list_versions(root):
        try:
            read_manifest(folder)
            if (folder / GRAPH_FILE).is_file():
                return
            faults.append(StartupError(f"{folder / GRAPH_FILE}: no such file"))
        except StartupError as error:
            faults.append(error)
    raise faults[0]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder. Raises StartupError that names the faulty field."""
    try:
        return Manifest.read(folder)
    except OSError as error:
        raise StartupError(f"{folder / MANIFEST_FILE}: {error.strerror}") from error
    except ValidationError as error:
        faults = _open_fields(folder) or describe_faults(error)
        raise StartupError(f"{folder / MANIFEST_FILE}: {'; '.join(faults)}") from error


def describe_faults(error: ValidationError) -> list[str]:
    """A line for each field at fault."""
    # A fault of the JSON itself has no field, but names line and column.
    return [
        ".".join(map(str, fault["loc"])) + ": " * bool(fault["loc"]) + fault["msg"]
        for fault in error.errors()
    ]


def _open_fields(folder: Path) -> list[str]:
    """What a draft by `cellgate inspect` leaves open."""
    try:
        return open_fields(json.loads((folder / MANIFEST_FILE).read_bytes()))
    except (OSError, ValueError, RecursionError):  # RecursionError: lists in lists in lists
        return []


def read_binding(folder: Path) -> Binding:
    """What ties sessions to this version; see `bind`. Raises StartupError if a file cannot be read."""
    graph = GraphFile.read(folder / GRAPH_FILE).graph
    return bind(folder, fingerprint(folder), read_manifest(folder), graph)


@dataclass(slots=True, frozen=True)
class StoredModel:
    """A model version on disk: enough to interpret its sessions without loading it."""

    manifest: Manifest
    binding: Binding
    folder: Path

    @property
    def layout(self) -> StateLayout:
        """The tensors of its state."""
        return StateLayout.of(self.manifest)

    def named_state(self, name: str) -> State:
        """The initial state of that name. Raises UnknownState, or StartupError for a faulty file."""
        states = initial_states.parse(
            initial_states.read_files(self.folder), self.layout, self.manifest, self.folder
        )
        return initial_states.choose(states, name, self.binding)


class ModelFolders:
    """The versions below a folder, looked up as in a `Repository`, but not loaded."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str | None, version: str | None) -> StoredModel:
        """A version by model name (None: any) and number (None: the highest).

        Raises UnknownModel, UnknownVersion, or StartupError for a faulty manifest.
        """
        folders = [folder for folder in find_versions(self._root) if name in (None, folder.parent.name)]
        if not folders:
            raise UnknownModel(f"no model {name or ''} in {self._root.resolve()}")
        matching = [folder for folder in folders if version in (None, folder.name)]
        if not matching:
            raise UnknownVersion(f"no version {version!r} of {name} in {self._root.resolve()}")
        folder = matching[-1]
        return StoredModel(read_manifest(folder), read_binding(folder), folder)
