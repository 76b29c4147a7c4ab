"""The kernel of ONNX Runtime and the portable `Scan` compute the same; padding and pieces change nothing."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from training.export import export, random_network
from training.export.network import write_graph
from training.export.parity import check
from training.graph import CONTRIB

with_kernel = pytest.mark.parametrize("cell", ["gla", "gated_delta"])


def answers(model: onnx.ModelProto, lengths: list[int]) -> list[NDArray[np.float32]]:
    """y at true steps, and the state, of ragged sequences with a state each, padded with large numbers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(lengths), max(lengths), 5)).astype(np.float32)
    for row, length in enumerate(lengths):
        x[row, length:] = 1e3
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    width = session.get_inputs()[2].shape[2]
    s = rng.standard_normal((2, len(lengths), width)).astype(np.float32)
    feeds = {"x": x, "lengths": np.array(lengths, np.int32), "s": s}
    y, end = session.run(["y", "s_out"], feeds)
    return [y[np.arange(max(lengths)) < np.array(lengths)[:, None]], end]


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@with_kernel
@pytest.mark.parametrize("hidden", [24, 7])
def test_the_kernel_and_the_scan_agree_within_rounding(cell: str, hidden: int) -> None:
    network, data = random_network(cell=cell, features=5, hidden=hidden, layers=2, classes=3, seed=0)
    fast, portable = (write_graph(network.eval(), is_portable=choice) for choice in (False, True))
    assert "LinearAttention" in operators(fast) and "Scan" not in operators(fast)
    assert "Scan" in operators(portable) and "LinearAttention" not in operators(portable)
    assert [opset.domain for opset in fast.opset_import] == ["", CONTRIB]
    assert [opset.domain for opset in portable.opset_import] == [""]
    for ours, theirs in zip(answers(fast, [9, 1, 5]), answers(portable, [9, 1, 5]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    check(portable.SerializeToString(), network, data.test)  # raises where they differ


@with_kernel
def test_both_are_exported(cell: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    network, data = random_network(cell=cell, features=5, hidden=8, layers=1, classes=3, seed=0)
    for is_portable in (False, True):
        folder = tmp_path_factory.mktemp("models") / "1"
        export(network, data, folder, metrics={}, command="", seed=0, is_portable=is_portable)
        assert ("Scan" in operators(onnx.load(folder / "model.onnx"))) is is_portable
