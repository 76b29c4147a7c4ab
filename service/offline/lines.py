"""NDJSON: each line is a sequence as `/predict` takes it, perhaps with an `id`.

    [[0.1, 2], [0.3, 4]]
    {"id": "a", "steps": [[0.1, 2], [0.3, 4]]}

It knows lines and JSON; it knows nothing of models beyond their manifest.
"""

import codecs
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from service.codec import request as requests
from service.codec.request import Document, Item
from service.errors import CellgateError, InvalidField, InvalidJson, SequenceTooLong, StartupError
from service.manifest import Manifest
from service.offline.block import MAX_SEQUENCES, Keys, Plain, Read, strip_pointer
from service.offline.plain_lines import flat_lines
from service.sequence import Array

ID = "id"
MAX_LINE = 64 << 20  # bytes
MAX_BYTES = 8 << 20  # of the lines of one block, but for the last
READ_BYTES = 1 << 17  # at a time
_REFUSED = frozenset({"session", "at", "end", "rewinds", "state"})
_POINTER = "/sequences/0"

T = TypeVar("T")


@dataclass(slots=True)
class LineBlock:
    """Consecutive lines."""

    lines: list[bytes | None]  # None: longer than MAX_LINE
    progress: float

    def __len__(self) -> int:
        """Sequences."""
        return len(self.lines)

    def after(self, skipped: int) -> "LineBlock":
        """The same without its first lines."""
        return LineBlock(self.lines[skipped:], self.progress)

    def __reduce__(self) -> tuple[Any, ...]:
        """As one text, which need not be copied; no line is empty or has a line feed."""
        text = b"\n".join([line or b"" for line in self.lines])
        return _unpickled, (pickle.PickleBuffer(text), self.progress)

    def only(self, chosen: Array) -> "LineBlock":
        """The same with some of its lines, [lines] bool."""
        lines = [line for line, is_chosen in zip(self.lines, chosen, strict=True) if is_chosen]
        return LineBlock(lines, self.progress)

    def to_flat(self, manifest: Manifest) -> Plain | None:
        """From the text of many lines at once; see `plain_lines`."""
        found = flat_lines(self.lines, manifest)
        return None if found is None else Plain(Keys(ID, found.ids), found.flat, found.is_plain)

    def decode(self, manifest: Manifest, *, max_steps: int) -> Read[Item]:
        """Each line, decoded."""
        return self._read(lambda line: _decode(line, manifest, max_steps))

    def to_json(self, manifest: Manifest, *, max_steps: int) -> Read[bytes]:  # noqa: ARG002
        """Each line without its `id`. The server checks the rest."""
        return self._read(_to_json)

    def _read(self, read: Callable[[bytes | None], tuple[Any, T | CellgateError]]) -> Read[T]:
        keys, sequences = zip(*map(read, self.lines), strict=True)
        return Read(Keys(ID, list(keys)), list(sequences))


def _unpickled(text: bytes | memoryview, progress: float) -> LineBlock:
    return LineBlock([line or None for line in bytes(text).split(b"\n")], progress)


def blocks(path: Path) -> Iterator[LineBlock]:
    """The lines of a file in order; blank ones are skipped. Raises OSError, or StartupError without any."""
    size = max(path.stat().st_size, 1)
    lines: list[bytes | None] = []
    num_bytes = position = num_blocks = 0
    with path.open("rb", buffering=READ_BYTES) as file:
        while line := file.readline(MAX_LINE):
            position += len(line)
            is_whole = line.endswith(b"\n") or len(line) < MAX_LINE
            while not is_whole and (rest := file.readline(MAX_LINE)):
                position += len(rest)
                is_whole, line = rest.endswith(b"\n"), b""
            if position == len(line):
                line = line.removeprefix(codecs.BOM_UTF8)
            if line and line.isspace():
                continue
            lines.append(line.strip() if line else None)
            num_bytes += len(line)
            if len(lines) == MAX_SEQUENCES or num_bytes >= MAX_BYTES:
                yield LineBlock(lines, min(1.0, position / size))
                lines, num_bytes, num_blocks = [], 0, num_blocks + 1
    if not lines and not num_blocks:
        raise StartupError(f"{path} has no sequences")
    if lines:
        yield LineBlock(lines, 1.0)


def _decode(line: bytes | None, manifest: Manifest, max_steps: int) -> tuple[Any, Item | CellgateError]:
    """The `id` of a line, and its sequence."""
    key = None
    try:
        document = requests.parse(b'{"sequences":[%b]}' % _whole(line), max_sequences=1)
        sequence = requests.sequence_of(document, 0, manifest)
        if isinstance(sequence, dict):
            key = sequence.pop(ID, None)
            _check(sequence)
        return key, requests.decode_item(Document([sequence]), 0, manifest, max_steps=max_steps)
    except CellgateError as error:
        return key, strip_pointer(error, _POINTER)


def _to_json(line: bytes | None) -> tuple[Any, bytes | CellgateError]:
    key = None
    try:
        line = _whole(line)
        sequence = orjson.loads(line)
        if not isinstance(sequence, dict):
            return None, line
        key = sequence.pop(ID, None)
        _check(sequence)
        return key, line if key is None else orjson.dumps(sequence)
    except orjson.JSONDecodeError as error:
        return key, InvalidJson(f"the line is not JSON: {error}")
    except CellgateError as error:
        return key, strip_pointer(error, _POINTER)


def _whole(line: bytes | None) -> bytes:
    if line is None:
        raise SequenceTooLong(f"the line is longer than {MAX_LINE} bytes")
    return line


def _check(sequence: dict[str, Any]) -> None:
    """Refuse what would make the order of the sequences matter. Raises InvalidField."""
    for name in _REFUSED & sequence.keys():
        raise InvalidField(
            f'"{name}": the sequences of a file are independent of sessions and of each other',
            pointer=f"{_POINTER}/{name}",
        )
