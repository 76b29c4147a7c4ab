"""Sequences of numbers ↔ the binary tensors of the Open Inference Protocol, `/v2`: 4 bytes a float32.

JSON takes some 10 to 20 bytes a number, and both sides have to convert them.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from cellgate.errors import BadReply
from cellgate.flow import Send
from cellgate.inputs import Steps, Tabular
from cellgate.models import Input, Model, Output, Return
from cellgate.predictions import Array, Prediction, from_arrays, keeps_time

MIN_NUMBERS = 2048  # of a request; below it JSON costs little
MAX_PADDING = 2  # times the numbers without padding
DATATYPES = {
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip
LENGTH_HEADER = "inference-header-content-length"
Batch = list[NDArray[Any]]


def arrays_of(sequences: Sequence[Steps], model: Model) -> Batch | None:
    """The sequences as [time, *dims] in the model's dtype, where bytes pay and say the same as JSON would.

    None: send JSON, which also says what is wrong with them.
    """
    if len(model.inputs) != 1 or model.inputs[0].name == "lengths":
        return None
    spec = model.inputs[0]
    batch: Batch = []
    for steps in sequences:
        array = _array(steps, spec)
        if array is None:
            return None
        batch.append(array)
    numbers = sum(array.size for array in batch)
    padded = max(map(len, batch)) * len(batch) * spec.width
    return batch if numbers >= MIN_NUMBERS and padded <= MAX_PADDING * numbers else None


def request(batch: Batch, model: Model, version: str | None, returns: Return, outputs: Sequence[str]) -> Send:
    """The request for a batch: one padded tensor, and the lengths of its rows."""
    spec = model.inputs[0]
    lengths = np.array([len(array) for array in batch], np.int32)
    x = np.zeros((len(batch), int(lengths.max()), *spec.dims), spec.dtype)
    for row, array in zip(x, batch, strict=True):
        row[: len(array)] = array
    tensors = {spec.name: x, "lengths": lengths} if lengths.min() < lengths.max() else {spec.name: x}
    head = {
        "inputs": [_entry(name, tensor) for name, tensor in tensors.items()],
        "outputs": [{"name": name} for name in outputs or (model.outputs[0].name,)],
        "parameters": {"binary_data_output": True, "return": returns},
    }
    start = json.dumps(head).encode()
    content = b"".join((start, *(tensor.tobytes() for tensor in tensors.values())))
    path = f"/v2/models/{quote(model.name, safe='')}" + (
        f"/versions/{quote(version, safe='')}" if version else ""
    )
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(start))}
    return Send("POST", f"{path}/infer", content, headers)


def version_of(response: httpx.Response) -> str:
    """The version that answered. Raises BadReply."""
    return str(_head(response)[0].get("model_version", ""))


def predictions(response: httpx.Response, batch: Batch, model: Model, returns: Return) -> list[Prediction]:
    """One prediction per row, without the padding. Raises BadReply."""
    head, offset = _head(response)
    outputs: dict[str, Array] = {}
    for entry in head["outputs"]:
        spec = model.output(entry["name"])
        if spec is None:
            raise BadReply(f"an output {entry['name']!r} that the model does not have")
        size = int(entry["parameters"]["binary_data_size"])
        blob = response.content[offset : offset + size]
        outputs[spec.name] = np.frombuffer(blob, spec.dtype).reshape(entry["shape"])
        offset += size
    return [
        from_arrays(
            {name: _row(y, row, len(array), model.output(name), returns) for name, y in outputs.items()},
            model,
        )
        for row, array in enumerate(batch)
    ]


def _row(y: Array, row: int, steps: int, spec: Output | None, returns: Return) -> Array:
    assert spec is not None
    return y[row, :steps] if keeps_time(spec, returns) else y[row, 0]


def _array(steps: Steps, spec: Input) -> NDArray[Any] | None:
    """None: not an array whose values the dtype holds as they are, or rounded to the nearest float."""
    if isinstance(steps, Tabular):
        steps = steps.to_numpy()
    if not isinstance(steps, np.ndarray) or steps.ndim != 1 + len(spec.dims) or not len(steps):
        return None
    if steps.shape[1:] != spec.dims or steps.dtype.kind not in "fiub":
        return None
    floats = np.dtype(spec.dtype).kind == "f" and steps.dtype.kind in "fiu"
    if not floats and steps.dtype != spec.dtype:
        return None
    with np.errstate(over="ignore"):
        array = steps.astype(spec.dtype)
    return array if not floats or np.isfinite(array).all() else None


def _entry(name: str, tensor: NDArray[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(tensor.shape),
        "datatype": DATATYPES[tensor.dtype.name],
        "parameters": {"binary_data_size": tensor.nbytes},
    }


def _head(response: httpx.Response) -> tuple[dict[str, Any], int]:
    """The JSON of a reply, and its length."""
    try:
        length = int(response.headers[LENGTH_HEADER])
        head = json.loads(response.content[:length])
        return head, length
    except (KeyError, ValueError) as error:
        raise BadReply(f"not a reply with binary tensors: {error!r}") from error
