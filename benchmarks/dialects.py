"""Request and reply format of each kind of server. It knows bytes and opens no connection."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import orjson

from benchmarks.cache import Array


@dataclass(frozen=True, slots=True)
class Call:
    """One sequence to send: [time, features], in a session or without one."""

    x: Array
    session: int | None = None
    is_first: bool = False


class Dialect(Protocol):
    """Request and reply format of a server."""

    path: str

    def encode(self, call: Call) -> bytes:
        """The request's body."""

    def decode(self, body: bytes) -> Array:
        """The answer for the last step, [classes]."""


class Cellgate:
    """`POST /predict`, also for the HTTP floor."""

    path = "/predict"

    def encode(self, call: Call) -> bytes:
        """A sequence, with its session's name if it has one."""
        steps = numbers(call.x)
        item = steps if call.session is None else {"steps": steps, "session": f"s{call.session:07d}"}
        return orjson.dumps({"sequences": [item]})

    def decode(self, body: bytes) -> Array:
        """The first prediction."""
        return np.array(orjson.loads(body)["predictions"][0]["output"], np.float32)


class Triton:
    """The Open Inference Protocol with Triton's sequence parameters."""

    def __init__(self, model: str, *, has_sequences: bool) -> None:
        self.path = f"/v2/models/{model}/infer"
        self.has_sequences = has_sequences
        self._unnamed = 1 << 32  # ids for sequences that are one request long

    def encode(self, call: Call) -> bytes:
        """A sequence that is not part of a session starts and ends with its request."""
        x = {"name": "x", "shape": [1, *call.x.shape], "datatype": "FP32", "data": numbers(call.x.ravel())}
        document: dict[str, object] = {"inputs": [x]}
        if self.has_sequences:
            self._unnamed += 1
            alone = call.session is None
            document["parameters"] = {
                "sequence_id": self._unnamed if call.session is None else call.session + 1,
                "sequence_start": alone or call.is_first,
                "sequence_end": alone,
            }
        return orjson.dumps(document)

    def decode(self, body: bytes) -> Array:
        """The only output."""
        return np.array(orjson.loads(body)["outputs"][0]["data"], np.float32)


class Tutorial:
    """The format of `benchmarks/tutorial_app.py`."""

    path = "/predict"

    def encode(self, call: Call) -> bytes:
        """The steps."""
        return orjson.dumps({"sequence": numbers(call.x)})

    def decode(self, body: bytes) -> Array:
        """The scores."""
        return np.array(orjson.loads(body)["scores"], np.float32)


def encode_bulk(batch: Array) -> tuple[bytes, int]:
    """Many sequences as one binary tensor, [batch, time, features], and the length of the JSON before it.

    The reply is requested as bytes, too, with the last step only.
    """
    x = {
        "name": "x",
        "shape": list(batch.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": batch.nbytes},
    }
    parameters = {"return": "last", "binary_data_output": True}
    head = orjson.dumps({"inputs": [x], "outputs": [{"name": "y"}], "parameters": parameters})
    return head + batch.tobytes(), len(head)


def numbers(x: Array) -> object:
    """Numbers with six decimals, as a sensor or a data frame would send them."""
    return np.round(x.astype(np.float64), 6).tolist()
