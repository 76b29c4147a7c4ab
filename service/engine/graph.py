"""Opens an ONNX graph: execution provider, session options, dtypes, and whether the manifest fits it.

It computes nothing; `service.engine.onnx` runs the session.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from service.errors import StartupError
from service.manifest import Manifest

Provider = Literal["auto", "cpu", "cuda"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
HELPER_SPIN_US = "100"  # longer than the wait between two parts of a time step
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}


def choose_provider(setting: Provider) -> str:
    """The execution provider's ONNX Runtime name. Raises StartupError if CUDA is required and missing."""
    available = ort.get_available_providers()
    if setting == "cuda" and CUDA not in available:
        raise StartupError(
            f"provider cuda: this ONNX Runtime ({ort.__version__}) has only {', '.join(available)}; "
            "install the GPU build instead: pip uninstall onnxruntime; pip install 'cellgate[gpu]'"
        )
    return CUDA if setting != "cpu" and CUDA in available else CPU


def load_session(
    path: Path, provider: str, threads: int, *, helper_cpus: Sequence[int] = ()
) -> ort.InferenceSession:
    """An ONNX Runtime session. Raises StartupError if the file is missing or is not a valid graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2 if helper_cpus else threads
    options.inter_op_num_threads = 1
    # A pool that keeps spinning after a call would take the core that another worker, or HTTP, needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if helper_cpus else "0")
    if helper_cpus:
        options.add_session_config_entry("session.intra_op.spin_duration_us", HELPER_SPIN_US)
        # ONNX Runtime counts CPUs from 1.
        cpus = ",".join(str(cpu + 1) for cpu in helper_cpus)
        options.add_session_config_entry("session.intra_op_thread_affinities", cpus)
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=list(dict.fromkeys((provider, CPU))))
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def dtype_of(node: Any) -> str:
    """The numpy dtype of a graph's input or output. Raises StartupError if it is not supported."""
    if node.type not in DTYPES:
        raise StartupError(f"{node.name!r} is {node.type}; expected one of {', '.join(DTYPES)}")
    return DTYPES[node.type]


def check_manifest(manifest: Manifest, session: ort.InferenceSession, path: Path) -> None:
    """Compare names, dtypes and, where both are fixed, sizes of manifest and graph.

    Raises StartupError with every difference.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    faults = [*_input_faults(manifest, inputs), *_output_faults(manifest, session)]
    for state in manifest.states:
        shape = list(inputs[state.input].shape) if state.input in inputs else []
        if shape and not _shapes_agree(shape, list(state.shape)):
            faults.append(
                f"state {state.input!r} is {shape} in the graph, {list(state.shape)} in the manifest"
            )
    if faults:
        raise StartupError(f"{path}: the manifest does not fit the graph: {'; '.join(sorted(faults))}")


def _input_faults(manifest: Manifest, inputs: dict[str, Any]) -> list[str]:
    expected = {spec.graph_input: spec.dtype for spec in manifest.inputs}
    expected |= {state.input: state.dtype for state in manifest.states}
    expected |= {manifest.lengths: "int32"} if manifest.lengths else {}
    faults = [
        f"graph input {name!r} is not in the manifest"
        for name in inputs.keys() - expected.keys() - manifest.constants.keys()
    ]
    for name, dtype in expected.items():
        if name not in inputs:
            faults.append(f"manifest names input {name!r}, the graph has {sorted(inputs)}")
        elif (actual := DTYPES.get(inputs[name].type)) != dtype:
            faults.append(
                f"input {name!r} is {actual or inputs[name].type} in the graph, {dtype} in the manifest"
            )
    return faults


def _output_faults(manifest: Manifest, session: ort.InferenceSession) -> list[str]:
    outputs = {node.name for node in session.get_outputs()}
    expected = [spec.name for spec in manifest.outputs] + [state.output for state in manifest.states]
    return [
        f"manifest names output {name!r}, the graph has {sorted(outputs)}"
        for name in expected
        if name not in outputs
    ]


def _shapes_agree(graph: list[Any], manifest: list[Any]) -> bool:
    """Equal rank, and equal wherever both sides give a number."""
    return len(graph) == len(manifest) and all(
        a == b for a, b in zip(graph, manifest, strict=True) if isinstance(a, int) and isinstance(b, int)
    )
