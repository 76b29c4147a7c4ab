"""The unit of work of a run: consecutive sequences of a file, small enough to hold several in memory.

It knows sequences and their keys; it knows nothing of files, processes or HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.codec.request import Item
from service.engine.flat import Flat
from service.errors import CellgateError
from service.manifest import Manifest
from service.sequence import Array

MAX_SEQUENCES = 1 << 13  # of a block: a fraction of a second of a small model
MAX_VALUES = 1 << 20  # of a block of several sequences: 8 MB of numbers

T = TypeVar("T")
Problem = Mapping[str, Any]  # of one sequence, as `CellgateError.problem` gives it
Answer = Array | Problem  # [*dims], or [time, *dims] with the output of every step


# One for each sequence, in order; an array: [sequences, *dims], and none has failed.
Answers = Sequence[Answer] | Array


class Keys(NamedTuple):
    """What tells the answers of a block apart: a column of the table, or the `id` of each line."""

    name: str
    values: list[Any]  # one per sequence; None: a line without one
    is_typed: bool = False  # whether all have one type, as those of a table have


class Block(Protocol):
    """Consecutive sequences, which can be sent to another process."""

    progress: float  # the share of the file, from 0 to 1, that ends with this block

    def __len__(self) -> int:
        """Sequences."""
        ...

    def after(self, skipped: int) -> "Block":
        """The same without its first sequences, at least one of which stays."""
        ...

    def only(self, chosen: Array) -> "Block":
        """The same with some of its sequences, [sequences] bool."""
        ...

    def to_flat(self, manifest: Manifest) -> "Plain | None":
        """All sequences as whole arrays; None: none can be read so."""
        ...

    def decode(self, manifest: Manifest, *, max_steps: int) -> "Read[Item]":
        """Each sequence as arrays."""
        ...

    def to_json(self, manifest: Manifest, *, max_steps: int) -> "Read[bytes]":
        """Each sequence as an entry of `sequences` in a request to `/predict`."""
        ...


class Plain(NamedTuple):
    """The sequences of a block in which nothing is unusual, and so nothing at fault."""

    keys: Keys  # of all sequences of the block; that of another than these may be wrong
    flat: Flat  # all sequences of the block; the rows of another than these hold anything
    is_plain: Array  # [all sequences of the block] bool


class Read(NamedTuple, Generic[T]):
    """The sequences of a block; an error in the place of each that the model does not take."""

    keys: Keys
    sequences: list[T | CellgateError]


class Answered(NamedTuple):
    """A block of which every sequence has an answer."""

    encoded: bytes  # as the output holds them
    num_sequences: int
    num_failed: int
    progress: float


def strip_pointer(error: CellgateError, pointer: str) -> CellgateError:
    """The error with a pointer into the sequence itself, not into a request that holds it at `pointer`."""
    if error.pointer is not None:
        error.pointer = error.pointer.removeprefix(pointer) or None
    return error
