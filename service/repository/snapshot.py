"""The files of a version folder, as they were at one moment: read, hashed, and watched for changes.

A version is loaded from what was read here, not from the files: ONNX Runtime would map external files into
memory, and a file that is overwritten in place would change the weights that are being served.
"""

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service import memory
from service.engine.content import GraphContent
from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE
from service.repository import initial_states
from service.repository.graph_file import GraphFile

CHUNK = 1 << 20
MISSING = ((errno.ENOENT,), (errno.ENOTDIR,))

# Of one file: device, inode, size, time of modification, time of any change; or why there is none (errno).
FileSignature = tuple[int, ...]
Signature = tuple[
    tuple[str, FileSignature], ...
]  # by name: manifest, graph, and the files that the graph names


@dataclass(slots=True, frozen=True)
class Snapshot:
    """What a version folder held when it was read."""

    folder: Path
    manifest: bytes
    content: GraphContent
    fingerprint: bytes  # 8, of the graph and all its weights: what ties sessions to them
    digest: str  # of these and the manifest
    states: Mapping[str, bytes] = field(default_factory=dict)  # the files of named initial states

    @classmethod
    def read(cls, folder: Path) -> "Snapshot":
        """Read a folder. Raises StartupError if a file is missing, too large, or is no graph."""
        described = GraphFile.read(folder / GRAPH_FILE)
        files = described.external_files
        if (total := _total(folder, files)) > memory.usable():
            raise StartupError(f"{folder}: its files have {total} bytes, more than this machine's memory")
        content = {name: _read(folder / name) for name in (MANIFEST_FILE, GRAPH_FILE, *files)}
        digests = {name: hashed for name, (_, hashed) in content.items()}
        return cls(
            folder=folder,
            manifest=bytes(content[MANIFEST_FILE][0]),
            content=GraphContent(
                bytes(content[GRAPH_FILE][0]),
                {name: content[name][0] for name in files},
                is_nested=described.has_nested_files,
            ),
            fingerprint=_combine(digests, files),
            digest=_join(digests),
            states=initial_states.read_files(folder),
        )


def fingerprint(folder: Path) -> bytes:
    """The fingerprint of a version's graph and weights, 8 bytes; of a graph alone it is that of the file.

    A file is hashed in parts. Raises StartupError.
    """
    files = _external_files(folder)
    return _combine({name: _hash(folder / name) for name in (GRAPH_FILE, *files)}, files)


def digest(folder: Path) -> str:
    """The digest of a `Snapshot`, without reading whole files into memory. Raises StartupError."""
    names = (MANIFEST_FILE, GRAPH_FILE, *_external_files(folder))
    return _join({name: _hash(folder / name) for name in names})


def signature(folder: Path) -> Signature | None:
    """A value that changes whenever a file of a version changes; None if it has no graph or no manifest.

    A file that its graph names and that is not there counts too, and so do its initial states.
    """
    own = [(name, _sign(folder / name)) for name in (MANIFEST_FILE, GRAPH_FILE)]
    if any(signed in MISSING for _, signed in own):
        return None
    files = _named_files(folder, own[1][1])
    return (*own, *((name, _sign(folder / name)) for name in (*files, *_state_files(folder))))


def num_bytes(folder: Path) -> int:
    """The size of a version's graph and of the files that it names. Raises StartupError."""
    return _total(folder, _external_files(folder))


def _external_files(folder: Path) -> tuple[str, ...]:
    return GraphFile.read(folder / GRAPH_FILE).external_files


@functools.lru_cache(maxsize=256)
def _named_files(folder: Path, _signed: FileSignature) -> tuple[str, ...]:
    """The external files of a graph, read once for each of its signatures; none if it cannot be read."""
    try:
        return _external_files(folder)
    except StartupError:
        return ()


def _state_files(folder: Path) -> list[str]:
    """The initial states, relative to the folder; of a folder that is refused, only the folder itself."""
    try:
        return [f"{path.parent.name}/{path.name}" for path in initial_states.find_files(folder).values()]
    except StartupError:
        return [initial_states.FOLDER]


def _sign(path: Path) -> FileSignature:
    try:
        status = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _total(folder: Path, files: tuple[str, ...]) -> int:
    return sum(_size(folder / name) for name in (GRAPH_FILE, *files))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error


def _read(path: Path) -> tuple[bytearray, bytes]:
    """A file and its SHA-256. Raises StartupError if it cannot be read."""
    content = bytearray()
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        content += chunk
        digest.update(chunk)
    return content, digest.digest()


def _hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.digest()


def _chunks(path: Path) -> Iterator[bytes]:
    """A file, in parts. Raises StartupError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise StartupError(f"{path}: not a regular file")
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from error


def _join(digests: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(digests[name] for name in sorted(digests))).hexdigest()


def _combine(digests: dict[str, bytes], files: tuple[str, ...]) -> bytes:
    """The first 8 bytes: of the graph's hash, or of a hash over it and each file's name and hash."""
    if not files:
        return digests[GRAPH_FILE][:8]
    names = b"".join(hashlib.sha256(os.fsencode(name)).digest() + digests[name] for name in files)
    return hashlib.sha256(digests[GRAPH_FILE] + names).digest()[:8]
