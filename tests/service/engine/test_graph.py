"""Opening a graph: providers, dtypes, levels, and whose fault an error is."""

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import onnxruntime
import pytest

from service.engine.graph import DTYPES, Optimization, choose_provider, dtype_of, raise_bad_input
from service.engine.onnx import OnnxEngine
from service.errors import InvalidField, StartupError
from service.manifest import DType, Manifest
from service.sequence import Batch, Chunk, Sequence
from tests.service.engine.test_batching import manifest
from tests.service.graphs import write_lstm


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


def test_every_dtype_of_a_manifest_is_one_of_onnx_runtimes() -> None:
    assert set(DTYPES.values()) == set(get_args(DType))


@pytest.mark.parametrize("optimization", get_args(Optimization))
def test_a_graph_can_be_opened_with_less_optimization(tmp_path: Path, optimization: Optimization) -> None:
    path, lstm = write_lstm(tmp_path)
    x = np.ones((5, 2), np.float32)
    answers = []
    for level in ("all", optimization):
        engine = OnnxEngine(path, lstm, provider="cpu", optimization=level)
        (result,) = engine.run(Batch([Chunk(Sequence((x,), engine.initial_state), 0, 5)]))
        answers.append(result.output)
    assert np.allclose(answers[0], answers[1], atol=1e-6)


def test_an_id_that_is_too_large_is_the_inputs_fault_and_all_else_is_not() -> None:
    tokens = manifest(inputs=[{"name": "x", "kind": "token", "dtype": "int64"}])
    error = RuntimeError("Status Message: indices element out of data bounds, idx=99")
    with pytest.raises(InvalidField, match="refuses an id: indices element out of data bounds, idx=99"):
        raise_bad_input(error, tokens)
    raise_bad_input(error, manifest())
    raise_bad_input(RuntimeError("boom"), tokens)
