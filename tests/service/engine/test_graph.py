"""Opening a graph: providers, and a manifest that does not fit is refused with every difference."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from service.engine.graph import choose_provider, dtype_of
from service.engine.onnx import OnnxEngine
from service.errors import StartupError
from service.manifest import Manifest
from tests.service.graphs import LSTM_STATES, write_lstm


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": [{"name": "z", "dims": [2]}]}, "manifest names input 'z'"),
        ({"inputs": [{"name": "z", "dims": [2]}]}, "graph input 'x' is not in the manifest"),
        ({"lengths": None}, "graph input 'lengths' is not in the manifest"),
        ({"inputs": [{"name": "x", "dims": [2], "dtype": "float64"}]}, "is float32 in the graph, float64 in"),
        ({"outputs": [{"name": "logits", "dims": [3]}]}, "manifest names output 'logits'"),
        (
            {"states": [LSTM_STATES[0], LSTM_STATES[1] | {"shape": [2, "batch", 3]}]},
            "state 'c' is [1, 'N', 3] in the graph, [2, 'batch', 3] in the manifest",
        ),
        ({"states": [LSTM_STATES[0]]}, "graph input 'c' is not in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path, manifest = write_lstm(tmp_path, **changes)
    with pytest.raises(StartupError) as caught:
        OnnxEngine(path, manifest)
    assert message in caught.value.detail and str(path) in caught.value.detail


def test_a_file_that_is_not_a_graph_is_refused_with_its_path(tmp_path: Path, vowels: Manifest) -> None:
    missing, broken = tmp_path / "none.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    for path in (missing, broken):
        with pytest.raises(StartupError, match=path.name):
            OnnxEngine(path, vowels)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA"
)
def test_cuda_required_and_missing_is_refused_with_the_package_to_install() -> None:
    with pytest.raises(StartupError, match=r"CPUExecutionProvider.*cellgate\[gpu\]"):
        choose_provider("cuda")
    assert choose_provider("auto") == choose_provider("cpu") == "CPUExecutionProvider"


def test_a_dtype_that_is_not_supported_is_refused_with_those_that_are() -> None:
    assert dtype_of(SimpleNamespace(name="x", type="tensor(int64)")) == "int64"
    with pytest.raises(StartupError, match=r"'x' is tensor\(string\); expected one of tensor\(float\)"):
        dtype_of(SimpleNamespace(name="x", type="tensor(string)"))
