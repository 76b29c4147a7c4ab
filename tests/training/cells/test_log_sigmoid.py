"""The nodes of log sigmoid have the precision of float32."""

import numpy as np
import onnxruntime as ort
import torch

from training.cells.log_sigmoid import write_log_sigmoid
from training.graph import Graph


def test_the_logarithm_of_the_logistic_function_is_exact_to_rounding() -> None:
    graph = Graph("test")
    graph.input("x", ["n"])
    graph.output(write_log_sigmoid(graph, "y", "x"), ["n"])
    session = ort.InferenceSession(graph.build().SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.concatenate([np.linspace(-120, 120, 4001), [0, 1e-9, -1e-9, 1e4, -1e4]]).astype(np.float32)
    [y] = session.run(None, {"x": x})
    expected = torch.nn.functional.logsigmoid(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-37)
