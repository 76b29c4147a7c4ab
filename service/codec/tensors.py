"""Tensors of the Open Inference Protocol ↔ rows of time steps.

    JSON "data", or bytes after the JSON ─ `read_inputs` → tensors as sent ─ `rows_of` a manifest → arrays
    sequences ─ `stack` → [batch, time, *dims] ─ `write` → JSON, and bytes after it

Arrays are views of the bytes; no number in them becomes a Python object. It knows nothing of HTTP or
sessions.
"""

import struct
from collections.abc import Set
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.codec.arrays import Kept, Steps, check_num_steps, check_window, fit
from service.codec.categories import ids_of
from service.codec.numbers import writable
from service.codec.tensor import DATATYPES, DTYPES, Tensor, array_of
from service.errors import BadInput, InvalidField, TooManySequences, WrongShape
from service.manifest import InputSpec, Manifest, OutputSpec
from service.sequence import Array, Sequence

BYTES = "BYTES"  # the datatype of texts
_LENGTH = struct.Struct("<I")
LENGTHS = InputSpec(name="lengths", dtype="int32")


class Row(NamedTuple):
    """One row of a batch."""

    steps: Steps
    kept: Kept


def takes_lengths(manifest: Manifest) -> bool:
    """Whether a request may have the tensor `lengths`: not if the model has an input of that name."""
    return all(spec.name != LENGTHS.name for spec in manifest.inputs)


def rows_of(
    tensors: dict[str, Tensor], manifest: Manifest, *, max_rows: int, max_steps: int
) -> tuple[list[Row], int]:
    """One entry per batch row, cut to its length; and the steps of the time axis. Raises a BadInput.

    An input without a time axis is [batch, *dims], and may be absent: a session that has it keeps it.
    """
    is_ragged = _check_names(tensors, manifest)
    first = tensors[manifest.step_inputs[0].name].shape[:2]
    for spec in manifest.step_inputs:
        _check_shape(tensors[spec.name], spec, first, max_rows, max_steps)
    rows, steps = first
    kept = [_kept_rows(tensors.get(spec.name), spec, rows) for spec in manifest.sequence_inputs]
    pairs = [(array_of(tensors[spec.name], spec), spec) for spec in manifest.step_inputs]
    if not is_ragged:
        check_window(steps, manifest)
        arrays = [_fit(array, spec) for array, spec in pairs]  # each [batch, time, *dims]
        return [
            Row(tuple([array[row] for array in arrays]), tuple([values[row] for values in kept]))
            for row in range(rows)
        ], steps
    batch: list[Row] = []
    for row, length in enumerate(_lengths(tensors[LENGTHS.name], rows, steps)):
        check_window(length, manifest)
        arrays = [_fit(array[row, :length], spec) for array, spec in pairs]  # not checked beyond the length
        batch.append(Row(tuple(arrays), tuple([values[row] for values in kept])))
    return batch, steps


def stack(
    sequences: list[Sequence], steps: int, spec: OutputSpec, dtype: str, index: int = 0, *, keep_all: bool
) -> Array:
    """[batch, time, *dims]: an output of each sequence, then zeros. Time is 1 if only the last step is kept.

    `index`: its place among the manifest's outputs. `keep_all`: as of the sequences, which may be none.
    """
    y = np.zeros((len(sequences), steps if keep_all and spec.steps == "all" else 1, *spec.dims), dtype)
    for row, sequence in enumerate(sequences):
        output = steps_of(sequence, spec, index)
        y[row, : len(output)] = output
    return y


def steps_of(sequence: Sequence, spec: OutputSpec, index: int) -> Array:
    """[time, *dims] of one output: every step, or only the last; of the last alone, a call may give more."""
    if not sequence.keep_all:
        return sequence.output(index)[np.newaxis]
    return sequence.output(index)[-1:] if spec.steps == "last" else sequence.output(index)


def write(head: dict[str, Any], outputs: dict[str, Array], as_bytes: Set[str]) -> tuple[bytes, int | None]:
    """The body of a reply, and the length of its JSON if bytes follow that: of the outputs `as_bytes`."""
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, y in outputs.items():
        datatype = BYTES if y.dtype == object else DATATYPES[y.dtype.name]
        entry: dict[str, Any] = {"name": name, "shape": y.shape, "datatype": datatype}
        entries.append(entry)
        if name in as_bytes:
            blob = _pack(y) if datatype == BYTES else y.astype(DTYPES[datatype], copy=False).tobytes()
            entry["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        elif datatype == BYTES:
            entry["data"] = list(y.flat)
        else:
            entry["data"] = writable(y.reshape(-1))
    start = orjson.dumps(head | {"outputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((start, *blobs)), len(start) if blobs else None


def _pack(texts: Array) -> bytes:
    """Each text after its number of bytes, an uint32."""
    encoded = [text.encode() for text in texts.flat]
    return b"".join([part for text in encoded for part in (_LENGTH.pack(len(text)), text)])


def _check_names(tensors: dict[str, Tensor], manifest: Manifest) -> bool:
    """Whether the request has the tensor `lengths`. Raises InvalidField for a missing or unknown input."""
    known = {spec.name for spec in manifest.inputs}
    missing, unknown = {spec.name for spec in manifest.step_inputs} - tensors.keys(), tensors.keys() - known
    is_ragged = LENGTHS.name in unknown and takes_lengths(manifest)
    if missing or unknown - ({LENGTHS.name} if is_ragged else set()):
        raise InvalidField(f"the model takes the inputs {sorted(known)}, the request has {sorted(tensors)}")
    return is_ragged


def _kept_rows(tensor: Tensor | None, spec: InputSpec, rows: int) -> Array | list[None]:
    """The values of an input without a time axis, one entry per row: [batch, *dims], or None for each."""
    if tensor is None:
        return [None] * rows
    _check_datatype(tensor, spec)
    if tensor.shape != (rows, *spec.dims):
        raise WrongShape(
            f"input {spec.name!r}: the shape must be {[rows, *spec.dims]}, without a time axis; "
            f"got {list(tensor.shape)}"
        )
    return _fit(array_of(tensor, spec), spec)


def _check_datatype(tensor: Tensor, spec: InputSpec) -> None:
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise InvalidField(f"input {spec.name!r} is {DATATYPES[spec.dtype]}, not {tensor.datatype}")


def _check_shape(
    tensor: Tensor, spec: InputSpec, first: tuple[int, ...], max_rows: int, max_steps: int
) -> None:
    """Check a tensor against the manifest, and its batch and time against those of the first input."""
    expected = [-1, -1, *spec.dims]
    _check_datatype(tensor, spec)
    if len(tensor.shape) != len(expected) or tensor.shape[2:] != spec.dims or tensor.shape[:2] != first:
        raise WrongShape(
            f"input {spec.name!r}: the shape must be {expected}, batch and time the same in every input; "
            f"got {list(tensor.shape)}"
        )
    rows, steps = first
    if rows > max_rows:
        raise TooManySequences(f"a batch of {rows}, the maximum is {max_rows}")
    check_num_steps(steps, max_steps)


def _lengths(tensor: Tensor, rows: int, steps: int) -> list[int]:
    if tensor.datatype != "INT32" or tensor.shape != (rows,):
        raise WrongShape(f"input 'lengths' must be INT32 of shape [{rows}]")
    lengths = _fit(array_of(tensor, LENGTHS), LENGTHS)
    if rows and (lengths.min() < 1 or lengths.max() > steps):
        raise InvalidField(f"input 'lengths': each must be from 1 to {steps}, the size of the time axis")
    return [int(length) for length in lengths]


def _fit(array: Array, spec: InputSpec) -> Array:
    try:
        return fit(ids_of(array, spec, ""), spec, "")
    except BadInput as error:
        where = f"[{(error.pointer or '')[1:].replace('/', ', ')}]"
        raise type(error)(f"input {spec.name!r}, at {where}: {error.detail}") from error
