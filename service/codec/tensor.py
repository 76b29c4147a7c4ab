"""One tensor of the Open Inference Protocol: its name, type and shape, and its numbers from JSON or bytes.

It knows no model beyond the spec of the input that a tensor is for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from service.codec import bounds
from service.errors import InvalidField, NonFinite, WrongShape
from service.manifest import InputSpec, Manifest
from service.sequence import Array

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


@dataclass(slots=True)
class Tensor:
    """An input as the request holds it: its numbers are still JSON, or bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[Any] | Array | memoryview
    read_exactly: Callable[[], list[Any]] = list  # the values of an array again, as lists with each digit

    @property
    def size(self) -> int:
        """How many numbers the shape has."""
        return math.prod(self.shape)


def read_inputs(entries: Any, blob: memoryview, json: bytes = b"") -> dict[str, Tensor]:
    """The request's "inputs" by name; `blob` is the bytes of all binary ones, in order.

    `entries` are as `fast_json.loads_tensors` reads them from `json`.
    """
    if not isinstance(entries, list) or not entries:
        raise InvalidField('"inputs" must be a list of at least one tensor')
    tensors: dict[str, Tensor] = {}
    for index, entry in enumerate(entries):
        tensor, num_bytes = _read_input(entry, blob)
        if tensor.name in tensors:
            raise InvalidField(f"input {tensor.name!r} appears twice")
        tensor.read_exactly = partial(_read_exactly, json, index)
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


def refuse_shared_memory(parameters: dict[str, Any], where: str) -> None:
    """Raises InvalidField for a tensor that the client has, or wants, in memory shared with the server."""
    if "shared_memory_region" in parameters:
        raise InvalidField(f"{where}: shared memory is not supported; send and receive tensors in the body")


def array_of(tensor: Tensor, spec: InputSpec) -> Array:
    """The numbers in the tensor's shape: a view of bytes, or an array of what JSON held."""
    values = tensor.values
    if isinstance(values, np.ndarray):
        return _array_of_numbers(tensor, values, spec).reshape(tensor.shape)
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
    refuse_shared_memory(parameters, f"input {name!r}")
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in entry):
        raise InvalidField(f'input {name!r}: expected either "data" or the parameter "binary_data_size"')
    if size is None:
        if not isinstance(entry["data"], list | np.ndarray):
            raise InvalidField(f'input {name!r}: "data" must be a list')
        return Tensor(name, datatype, tuple(shape), entry["data"]), 0
    if type(size) is not int or not 0 <= size <= len(blob):
        raise WrongShape(f"input {name!r}: binary_data_size is {size!r}, but {len(blob)} bytes are left")
    return Tensor(name, datatype, tuple(shape), blob[:size]), size


def _flat(values: list[Any], tensor: Tensor) -> list[Any]:
    """Row-major numbers from a flat list, or from lists nested in exactly the tensor's shape."""
    level: list[Any] = [values]
    sizes: tuple[int, ...] = (tensor.size,)
    if values and type(values[0]) is list:
        sizes = tensor.shape
    for size in sizes:
        if any(type(entry) is not list or len(entry) != size for entry in level):
            raise _neither_flat_nor_nested(tensor)
        level = list(chain.from_iterable(level))
    return level


def _neither_flat_nor_nested(tensor: Tensor) -> WrongShape:
    return WrongShape(
        f'input {tensor.name!r}: "data" must be flat, of {tensor.size} numbers, or nested in the shape '
        f"{list(tensor.shape)}"
    )


def _array_of_numbers(tensor: Tensor, values: Array, spec: InputSpec) -> Array:
    """The same as `_array_of_json`, of numbers that are an array already."""
    if values.shape not in ((tensor.size,), tensor.shape):
        raise _neither_flat_nor_nested(tensor)
    kind = np.dtype(spec.dtype).kind
    if kind != "f" and (kind == "b" or values.dtype.kind == "f"):
        return _array_of_json(tensor, _flat(tensor.read_exactly(), tensor), spec)
    if kind == "f" and spec.missing != "nan" and values.dtype.kind == "f" and np.isnan(values).any():
        raise _wrong_type(tensor)
    return values.astype(np.float64, copy=False) if kind == "f" else values


def _wrong_type(tensor: Tensor) -> InvalidField:
    return InvalidField(f'input {tensor.name!r}: "data" has a value that is not {tensor.datatype}')


def _read_exactly(json: bytes, index: int) -> list[Any]:
    values: list[Any] = bounds.loads(json)["inputs"][index]["data"]
    return values


def _array_of_json(tensor: Tensor, values: list[Any], spec: InputSpec) -> Array:
    kind = np.dtype(spec.dtype).kind
    types = _JSON_TYPES.get(kind, {int})
    if not set(map(type, values)) <= types | (
        {type(None)} if kind == "f" and spec.missing == "nan" else set()
    ):
        raise _wrong_type(tensor)
    try:
        return np.array(values, {"f": np.float64, "b": np.bool_}.get(kind, np.int64))
    except OverflowError as error:
        raise NonFinite(f"input {tensor.name!r}: a number does not fit into INT64") from error
