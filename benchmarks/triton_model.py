"""The model for Triton's Python backend: one ONNX Runtime call for all requests of a batch.

Runs in Triton, under its interpreter stub. The states of the sequence batcher are kept here by correlation
id, as is usual. Requests of one batch have equal shapes: padding short ones to long ones was slower.
"""

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # installed with Triton
from numpy.typing import NDArray

Array = NDArray[np.float32]
Requests = list[Any]


class TritonPythonModel:
    """The class that the backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        config = json.loads(args["model_config"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = config["parameters"]["graph"]["string_value"]
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.layers, _, self.hidden = next(n.shape for n in self.session.get_inputs() if n.name == "h")
        self.has_sequences = "sequence_batching" in config
        self.states: dict[int, tuple[Array, Array]] = {}

    def execute(self, requests: Requests) -> list[Any]:
        """Answer a batch of requests, in order."""
        inputs = [pb_utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        rows = [len(x) for x in inputs]
        lengths = np.repeat([x.shape[1] for x in inputs], rows).astype(np.int32)
        h, c = self.open(requests, sum(rows))
        feeds = {"x": pad(inputs, lengths), "lengths": lengths, "h": h, "c": c}
        y, h, c = (np.asarray(out) for out in self.session.run(["y", "h_out", "c_out"], feeds))
        self.commit(requests, h, c)
        last = np.ascontiguousarray(y[np.arange(len(y)), lengths - 1])
        parts = np.split(last, np.cumsum(rows)[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]) for part in parts]

    def open(self, requests: Requests, batch: int) -> tuple[Array, Array]:
        """The states of the batch's sequences, [layers, batch, hidden] each."""
        h = np.zeros((self.layers, batch, self.hidden), np.float32)
        c = np.zeros_like(h)
        if self.has_sequences:
            for row, request in enumerate(requests):
                if not scalar(request, "START"):
                    h[:, row], c[:, row] = self.states[scalar(request, "CORRID")]
        return h, c

    def commit(self, requests: Requests, h: Array, c: Array) -> None:
        """Store the states of the sequences that continue."""
        if self.has_sequences:
            for row, request in enumerate(requests):
                if scalar(request, "END"):
                    self.states.pop(scalar(request, "CORRID"), None)
                else:
                    self.states[scalar(request, "CORRID")] = h[:, row].copy(), c[:, row].copy()


def scalar(request: Any, name: str) -> int:
    """One control input."""
    return int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().item())


def pad(inputs: list[Array], lengths: NDArray[np.int32]) -> Array:
    """Pad inputs [rows, time, features] with different times to [batch, time, features]."""
    if len(inputs) == 1:
        return inputs[0]
    x = np.zeros((len(lengths), lengths.max(), inputs[0].shape[2]), np.float32)
    start = 0
    for part in inputs:
        x[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return x
