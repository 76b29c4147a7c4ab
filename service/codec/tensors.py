"""Tensors of the Open Inference Protocol ↔ rows of time steps.

    JSON "data", or bytes after the JSON ─ `read_inputs` → tensors as sent ─ `rows_of` a manifest → arrays
    sequences ─ `stack` → [batch, time, *dims] ─ `write` → JSON, and bytes after it

Arrays are views of the bytes; no number in them becomes a Python object. It knows nothing of HTTP or
sessions.
"""

import math
from collections.abc import Set
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.codec.arrays import Kept, Steps, check_num_steps, check_window, fit
from service.errors import BadInput, InvalidField, NonFinite, TooManySequences, WrongShape
from service.manifest import InputSpec, Manifest, OutputSpec
from service.sequence import Array, Sequence

DATATYPES = {  # of each dtype of a manifest
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}
_JSON_TYPES: dict[str, set[type]] = {"f": {int, float}, "b": {bool}}  # of a dtype's kind; else integers
LENGTHS = InputSpec(name="lengths", dtype="int32")
MAX_OUTPUT_BYTES = 256 << 20  # of one reply: without a limit, a few token ids lead to gigabytes of logits


class Row(NamedTuple):
    """One row of a batch."""

    steps: Steps
    kept: Kept


@dataclass(slots=True)
class Tensor:
    """An input as the request holds it: its numbers are still JSON, or bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[Any] | memoryview

    @property
    def size(self) -> int:
        """How many numbers the shape has."""
        return math.prod(self.shape)


def read_inputs(entries: Any, blob: memoryview) -> dict[str, Tensor]:
    """The request's "inputs" by name; `blob` is the bytes of all binary ones, in order."""
    if not isinstance(entries, list) or not entries:
        raise InvalidField('"inputs" must be a list of at least one tensor')
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        tensor, num_bytes = _read_input(entry, blob)
        if tensor.name in tensors:
            raise InvalidField(f"input {tensor.name!r} appears twice")
        tensors[tensor.name] = tensor
        blob = blob[num_bytes:]
    if blob:
        raise WrongShape(f"{len(blob)} bytes follow the last binary tensor")
    return tensors


def raw_input(manifest: Manifest, blob: memoryview) -> dict[str, Tensor]:
    """A body without JSON: the model's only input, in one row of as many steps as the bytes hold."""
    if len(manifest.inputs) != 1:
        raise InvalidField("a body without JSON needs a model with one input")
    spec = manifest.inputs[0]
    per_step = spec.width * np.dtype(spec.dtype).itemsize
    if len(blob) % per_step:
        raise WrongShape(f"{len(blob)} bytes are not a whole number of steps of {per_step} bytes")
    shape = (1, len(blob) // per_step, *spec.dims)
    return {spec.name: Tensor(spec.name, DATATYPES[spec.dtype], shape, blob)}


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
    pairs = [(_array_of(tensors[spec.name], spec), spec) for spec in manifest.step_inputs]
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


def check_outputs(size: int) -> None:
    """Raises WrongShape if the outputs, of so many bytes, would be too large for one reply."""
    if size > MAX_OUTPUT_BYTES:
        raise WrongShape(
            f"the output would have {size} bytes, the maximum is {MAX_OUTPUT_BYTES}; "
            'set "return" to "last", or send fewer rows in one request'
        )


def stack(sequences: list[Sequence], steps: int, spec: OutputSpec, dtype: str, index: int = 0) -> Array:
    """[batch, time, *dims]: an output of each sequence, then zeros. Time is 1 if only the last step is kept.

    `index`: its place among the manifest's outputs.
    """
    keep_all = bool(sequences) and sequences[0].keep_all
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
        entry: dict[str, Any] = {"name": name, "shape": y.shape, "datatype": DATATYPES[y.dtype.name]}
        entries.append(entry)
        if name in as_bytes:
            entry["parameters"] = {"binary_data_size": y.nbytes}
            blobs.append(y.astype(DTYPES[entry["datatype"]], copy=False).tobytes())
        else:
            entry["data"] = y.reshape(-1)
    start = orjson.dumps(head | {"outputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((start, *blobs)), len(start) if blobs else None


def _read_input(entry: Any, blob: memoryview) -> tuple[Tensor, int]:
    """One tensor, and how many bytes of `blob` belong to it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise InvalidField('each input must be an object with a "name"')
    name, shape, datatype = entry["name"], entry.get("shape"), entry.get("datatype")
    if not isinstance(datatype, str):
        raise InvalidField(f'input {name!r}: "datatype" must be a string')
    if not isinstance(shape, list) or any(type(dim) is not int or dim < 0 for dim in shape):
        raise InvalidField(f'input {name!r}: "shape" must be a list of integers from 0')
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidField(f'input {name!r}: "parameters" must be an object')
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in entry):
        raise InvalidField(f'input {name!r}: expected either "data" or the parameter "binary_data_size"')
    if size is None:
        if not isinstance(entry["data"], list):
            raise InvalidField(f'input {name!r}: "data" must be a list')
        return Tensor(name, datatype, tuple(shape), entry["data"]), 0
    if type(size) is not int or not 0 <= size <= len(blob):
        raise WrongShape(f"input {name!r}: binary_data_size is {size!r}, but {len(blob)} bytes are left")
    return Tensor(name, datatype, tuple(shape), blob[:size]), size


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
    return _fit(_array_of(tensor, spec), spec)


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


def _array_of(tensor: Tensor, spec: InputSpec) -> Array:
    """The numbers in the tensor's shape: a view of bytes, or an array of what JSON held."""
    values = tensor.values
    if isinstance(values, list):
        return _array_of_json(tensor, _flat(values, tensor), spec).reshape(tensor.shape)
    dtype = DTYPES[DATATYPES[spec.dtype]]
    if len(values) != tensor.size * dtype.itemsize:
        raise WrongShape(
            f"input {tensor.name!r}: {len(values)} bytes, but the shape {list(tensor.shape)} has "
            f"{tensor.size * dtype.itemsize}"
        )
    if dtype == np.bool_ and values and max(values) > 1:
        raise InvalidField(f"input {tensor.name!r}: a byte of BOOL must be 0 or 1, got {max(values)}")
    # Copied if the JSON's length leaves the bytes unaligned: ONNX Runtime cannot read such an array.
    return np.require(np.frombuffer(values, dtype), requirements="A").reshape(tensor.shape)


def _flat(values: list[Any], tensor: Tensor) -> list[Any]:
    """Row-major numbers from a flat list, or from lists nested in exactly the tensor's shape."""
    level: list[Any] = [values]
    sizes: tuple[int, ...] = (tensor.size,)
    if values and type(values[0]) is list:
        sizes = tensor.shape
    for size in sizes:
        if any(type(entry) is not list or len(entry) != size for entry in level):
            raise WrongShape(
                f'input {tensor.name!r}: "data" must be flat, of {tensor.size} numbers, or nested in the '
                f"shape {list(tensor.shape)}"
            )
        level = list(chain.from_iterable(level))
    return level


def _array_of_json(tensor: Tensor, values: list[Any], spec: InputSpec) -> Array:
    kind = np.dtype(spec.dtype).kind
    types = _JSON_TYPES.get(kind, {int})
    if not set(map(type, values)) <= types | (
        {type(None)} if kind == "f" and spec.missing == "nan" else set()
    ):
        raise InvalidField(f'input {tensor.name!r}: "data" has a value that is not {tensor.datatype}')
    try:
        return np.array(values, {"f": np.float64, "b": np.bool_}.get(kind, np.int64))
    except OverflowError as error:
        raise NonFinite(f"input {tensor.name!r}: a number does not fit into INT64") from error


def _lengths(tensor: Tensor, rows: int, steps: int) -> list[int]:
    if tensor.datatype != "INT32" or tensor.shape != (rows,):
        raise WrongShape(f"input 'lengths' must be INT32 of shape [{rows}]")
    lengths = _fit(_array_of(tensor, LENGTHS), LENGTHS)
    if rows and (lengths.min() < 1 or lengths.max() > steps):
        raise InvalidField(f"input 'lengths': each must be from 1 to {steps}, the size of the time axis")
    return [int(length) for length in lengths]


def _fit(array: Array, spec: InputSpec) -> Array:
    try:
        return fit(array, spec, "")
    except BadInput as error:
        where = f"[{(error.pointer or '')[1:].replace('/', ', ')}]"
        raise type(error)(f"input {spec.name!r}, at {where}: {error.detail}") from error
