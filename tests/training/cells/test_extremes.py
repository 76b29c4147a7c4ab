"""Large inputs, then usual ones: no gate overflows, and the graph agrees with float64."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from training.export import random_network
from training.export.network import write_graph


@pytest.mark.parametrize("scale", [30, 1e3, 1e6])
@pytest.mark.parametrize("cell", ["slstm", "gated_delta", "gla"])
def test_gates_far_from_zero_have_the_precision_of_float32(cell: str, scale: float) -> None:
    """A forget gate of 1e-17 beside an in gate of 1e-13 was once computed as 1.5e-8: `Sigmoid` is clamped."""
    network, _ = random_network(cell=cell, features=12, hidden=32, layers=1, classes=9, seed=0)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 40, 12)) * scale).astype(np.float32)
    x[:, 20:] /= scale
    lengths = np.full(4, 40, np.int32)
    state = network.initial_state(4)
    graph = write_graph(network.eval()).SerializeToString()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feeds = {name: part.numpy() for name, part in zip(network.states, state, strict=True)}
    [logits] = session.run(["logits"], {"x": x, "lengths": lengths, **feeds})
    doubles = tuple(part.double() for part in state)
    with torch.inference_mode():
        expected, _ = network.double()(torch.from_numpy(x).double(), torch.from_numpy(lengths), doubles)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=5e-5 * float(expected.abs().max()))
