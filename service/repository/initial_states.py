"""The named initial states of a version: the files in its folder `states/`, read and checked at each load.

    models/<name>/<version>/states/<state>.safetensors

They are not part of the fingerprint: a session or a token that began from one holds its own state, and does
not depend on the file afterwards.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from service.errors import CellgateError, StartupError, UnknownState
from service.manifest import Manifest
from service.names import STATE_NAME
from service.sequence import State
from service.sessions import Binding, initial
from service.state import StateLayout

FOLDER = "states"
MAX_STATES = 256
MAX_BYTES = 64 << 20  # of all files of a version: each worker keeps them


def find_files(folder: Path) -> dict[str, Path]:
    """The files of a version's states by name, in order; those with another suffix are left out.

    Raises StartupError for a name that a request cannot use, or for too many.
    """
    try:
        with os.scandir(folder / FOLDER) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(initial.SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StartupError(f"{folder / FOLDER}: {error.strerror}") from error
    if len(names) > MAX_STATES:
        raise StartupError(f"{folder / FOLDER}: {len(names)} states, the maximum is {MAX_STATES}")
    files = {name.removesuffix(initial.SUFFIX): folder / FOLDER / name for name in names}
    for name, path in files.items():
        if not STATE_NAME.fullmatch(name):
            raise StartupError(
                f"{path}: {name!r} is not a state's name: expected letters, digits, '.', '_' and '-', "
                "at most 128, the first a letter or digit"
            )
    return files


def read_files(folder: Path) -> dict[str, bytes]:
    """The bytes of a version's states by name. Raises StartupError."""
    contents: dict[str, bytes] = {}
    remaining = MAX_BYTES
    for name, path in find_files(folder).items():
        contents[name] = _read(path, remaining)
        remaining -= len(contents[name])
    return contents


def write_files(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write the states of a version into the folder of a copy. Raises OSError."""
    if contents:
        (folder / FOLDER).mkdir(mode=0o700)
    for name, content in contents.items():
        (folder / FOLDER / f"{name}{initial.SUFFIX}").write_bytes(content)


def parse(
    contents: Mapping[str, bytes], layout: StateLayout, manifest: Manifest, folder: Path
) -> dict[str, State]:
    """The states of files. Raises StartupError, which names the file, if one does not fit the graph."""
    if contents and not manifest.chunkable:
        raise StartupError(
            f"{folder / FOLDER}: the model cannot be run in pieces, so it has no initial states"
        )
    allows_non_finite = manifest.non_finite == "allow"
    states: dict[str, State] = {}
    for name, content in contents.items():
        path = folder / FOLDER / f"{name}{initial.SUFFIX}"
        if len(content) > (most := initial.max_bytes(layout)):
            raise StartupError(f"{path}: {len(content)} bytes, a state of this graph has at most {most}")
        try:
            states[name] = initial.read(content, layout, allows_non_finite=allows_non_finite)
        except CellgateError as error:
            raise StartupError(f"{path}: {error.detail}") from error
    return states


def choose(states: Mapping[str, State], name: str, binding: Binding) -> State:
    """The state of that name; it is shared: never write to it. Raises UnknownState."""
    if name not in states:
        known = ", ".join(map(repr, states)) or "none"
        raise UnknownState(
            f"{binding.model} version {binding.version} has no initial state {name!r}; there are {known}"
        )
    return states[name]


def _read(path: Path, max_bytes: int) -> bytes:
    """A regular file: a pipe could block for ever, a device have no end. Raises StartupError."""
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StartupError(f"{path}: not a regular file")
            if status.st_size > max_bytes:
                raise StartupError(f"{path.parent}: more than {MAX_BYTES} bytes")
            return file.read(status.st_size)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
