"""The body of `POST /predict`: its envelope (model, version, options), and each sequence in it.

It knows the manifest and JSON; it knows nothing of HTTP, the session store or scheduling.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson

from service.codec import bounds
from service.codec.arrays import check_window, is_rounded
from service.codec.fast_json import SMALL_BODY, loads
from service.codec.fields import (
    GivenState,
    kind,
    parse_object,
    read_flag,
    read_names,
    read_rewinds,
    read_session,
    read_state,
    read_string,
    refuse_unknown,
)
from service.codec.records import Times, decode_steps
from service.codec.returned import Returned, read_return
from service.errors import EmptySequence, InvalidField, TooManySequences
from service.manifest import Manifest
from service.sequence import Array, Start

_FIELDS = frozenset({"model", "version", "sequences", "return", "outputs", "trim_padding", "return_state"})
_ITEM_FIELDS = frozenset({"steps", "text", "session", "at", "end", "rewinds", "state"})


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and each request makes many
class Document:
    """A request whose envelope is valid; its sequences are still JSON, as `fast_json` returns it."""

    sequences: list[Any]
    model: str | None = None
    version: str | None = None
    returns: str | None = None  # "last", "all", or None: by task
    trims: bool = False  # steps of nothing but zeros at the end of a sequence are padding
    outputs: tuple[str, ...] = ()  # requested by name; none = the first
    body: bytes = b""  # of a request whose numbers may be rounded
    returns_state: bool = False  # each answer has the state after it, as a token
    returned: Returned | None = None  # what an answer holds; None: its output


@dataclass(slots=True)
class Item:
    """One sequence of a request, decoded."""

    inputs: tuple[Array, ...]  # one per input with a time axis, each [time, *dims]
    session: str | None = None
    at: int | None = None
    end: bool = False
    start: Start = "auto"
    kept: tuple[Array | None, ...] = ()  # one per input without a time axis, each [*dims]; None: omitted
    outputs: tuple[str, ...] = ()  # requested by name; none = the default of the API
    extra: tuple[int, ...] = ()  # indexes of the outputs to compute beside the first
    state: GivenState | None = None  # that it begins from; None: that of its session, or the initial one
    returns_state: bool = False
    rewinds: int | None = None  # of the session so far, as the client believes
    times: Times | None = None  # of its steps, which are not in `inputs` yet; see `service.predict.timed`
    returned: Returned | None = None  # as in `Document`

    @property
    def steps(self) -> int:
        """Time steps."""
        return len(self.inputs[0])

    def digest(self, keep_all: bool) -> bytes:
        """16 bytes (BLAKE2b, RFC 7693) that tell this request of a session from any other."""
        digest = hashlib.blake2b(b"%d%d" % (keep_all, self.end), digest_size=16)
        for array in self.inputs:
            digest.update(array.data)
        if self.times is not None:
            digest.update(b"times" + orjson.dumps(self.times.values))
        if self.kept:
            for kept in self.kept:
                digest.update(b"omitted" if kept is None else b"kept" + kept.tobytes())
        if self.outputs:
            digest.update("\0".join(("outputs", *self.outputs)).encode())
        if self.returns_state:
            digest.update(b"return_state")
        if self.returned is not None:
            digest.update(self.returned.key)
        return digest.digest() if self.state is None else begun_digest(digest.digest(), self.state)


def begun_digest(digest: bytes, state: GivenState) -> bytes:
    """The digest of a request that begins from a state, from that of the same request without it."""
    given = orjson.dumps([state.is_name, state.value])
    return hashlib.blake2b(digest + given, digest_size=16).digest()


def parse(body: bytes, *, max_sequences: int) -> Document:
    """Read the envelope of a request. Raises a BadInput."""
    is_large = len(body) >= SMALL_BODY
    read = partial(loads, max_sequences=max_sequences) if is_large else orjson.loads
    document = parse_object(body, read)
    refuse_unknown(document, _FIELDS)
    sequences = document.get("sequences")
    if not isinstance(sequences, list) or not sequences:
        actual = kind(sequences) if "sequences" in document else "nothing"
        raise InvalidField(f"expected a list of at least one sequence, got {actual}", pointer="/sequences")
    if len(sequences) > max_sequences:
        raise TooManySequences(
            f"{len(sequences)} sequences, the maximum per request is {max_sequences}", pointer="/sequences"
        )
    returns, returned = document.get("return"), None
    if returns not in (None, "last", "all"):
        returns, returned = read_return(document)
    return Document(
        sequences,
        read_string(document, "model"),
        read_string(document, "version"),
        returns,
        read_flag(document, "trim_padding"),
        read_names(document, "outputs"),
        body if is_large else b"",
        "return_state" in document and read_flag(document, "return_state"),
        returned,
    )


def decode_item(document: Document, index: int, manifest: Manifest, *, max_steps: int) -> Item:
    """Read one sequence. Raises a BadInput whose pointer leads to the value at fault."""
    pointer = f"/sequences/{index}"
    item, at = _decode_item(sequence_of(document, index, manifest), pointer, manifest, max_steps)
    if document.trims:
        item.inputs = _trim(item.inputs, pointer)
        if item.times is not None:
            item.times = item.times._replace(values=item.times.values[: item.steps])
    if manifest.axes.time_size is not None:
        check_window(item.steps, manifest, at)
    item.outputs = document.outputs
    item.returns_state = document.returns_state
    item.returned = document.returned
    return item


def read_begin(document: Document, index: int) -> tuple[str | None, GivenState | None]:
    """The session and the state that a sequence names, whatever its steps are. Raises InvalidField."""
    sequence, pointer = document.sequences[index], f"/sequences/{index}"
    if not isinstance(sequence, dict):
        return None, None
    return read_session(sequence, pointer)[0], read_state(sequence, pointer)


def sequence_of(document: Document, index: int, manifest: Manifest) -> Any:
    """A sequence as JSON; numbers of a large body are read again if the model needs more than float64."""
    sequence = document.sequences[index]
    if document.body and is_rounded(
        sequence.get("steps") if isinstance(sequence, dict) else sequence, manifest
    ):
        document.sequences, document.body = bounds.loads(document.body)["sequences"], b""
    return document.sequences[index]


def _decode_item(sequence: Any, pointer: str, manifest: Manifest, max_steps: int) -> tuple[Item, str]:
    """The sequence, and the pointer to its steps."""
    envelope = pointer
    if isinstance(sequence, list | np.ndarray):
        inputs, kept, times = decode_steps(sequence, manifest, pointer, max_steps)
        return Item(inputs, kept=kept, times=times), pointer
    if not isinstance(sequence, dict):
        raise InvalidField(
            f'expected a list of rows, or an object with "steps", got {kind(sequence)}', pointer=pointer
        )
    refuse_unknown(sequence, _ITEM_FIELDS, pointer)
    if ("steps" in sequence) == ("text" in sequence):
        actual = "both" if "steps" in sequence else "neither"
        raise InvalidField(f'expected either "steps" or "text", got {actual}', pointer=pointer)
    session, at, end = read_session(sequence, pointer)
    state = read_state(sequence, pointer) if "state" in sequence else None
    field = "steps" if "steps" in sequence else "text"
    if field == "text" and not isinstance(sequence[field], str):
        raise InvalidField(f"expected a string, got {kind(sequence[field])}", pointer=f"{pointer}/text")
    pointer = f"{pointer}/{field}"
    inputs, kept, times = decode_steps(sequence[field], manifest, pointer, max_steps)
    item = Item(
        inputs, session, at, end, "auto" if state is None else "given", kept, state=state, times=times
    )
    if "rewinds" in sequence:
        item.rewinds = read_rewinds(sequence, envelope)
    return item, pointer


def _trim(inputs: tuple[Array, ...], pointer: str) -> tuple[Array, ...]:
    """Without the steps at the end that are zero in every input. Raises EmptySequence if all are."""
    steps = len(inputs[0])
    nonzero = np.flatnonzero(np.any([x.reshape(steps, -1).any(axis=1) for x in inputs], axis=0))
    if not len(nonzero):
        raise EmptySequence("every step is zero, so all of the sequence is padding", pointer=pointer)
    return tuple(x[: nonzero[-1] + 1] for x in inputs)
