"""Opens an ONNX graph: execution provider, session options, dtypes; and reads ONNX Runtime's errors.

It computes nothing; `service.engine.onnx` runs the session.
"""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from service.engine.content import GraphContent
from service.errors import InvalidField, SequenceTooLong, StartupError
from service.manifest import Manifest

Provider = Literal["auto", "cpu", "cuda"]
Optimization = Literal["all", "basic", "none"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# What ONNX Runtime says of a table of positions that is too short: looked up, or added as a slice.
BEYOND_TABLE = re.compile(r"out of data bounds, idx=(\d+) must be within the inclusive range \[-?\d+,(\d+)\]")
OTHER_LENGTH = re.compile(r"broadcast an axis by a dimension other than 1\. (\d+) by (\d+)")
HELPER_SPIN_US = "100"  # longer than the wait between two parts of a time step
DTYPES = {  # of a manifest, by ONNX Runtime's names
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def choose_provider(setting: Provider) -> str:
    """The execution provider's ONNX Runtime name. Raises StartupError if CUDA is required and missing."""
    available = ort.get_available_providers()
    if setting == "cuda" and CUDA not in available:
        raise StartupError(
            f"provider cuda: this ONNX Runtime ({ort.__version__}) has only {', '.join(available)}; "
            "install the GPU build instead: pip uninstall onnxruntime; pip install onnxruntime-gpu"
        )
    return CUDA if setting != "cpu" and CUDA in available else CPU


def load_session(
    path: Path,
    provider: str,
    threads: int,
    *,
    helper_cpus: Sequence[int] = (),
    optimization: Optimization = "all",
    content: GraphContent | None = None,
) -> ort.InferenceSession:
    """An ONNX Runtime session. Raises StartupError if the file is no valid graph, or the provider fails.

    `content`: of the file, and of the external files that it names; None: they are read from the disk.
    """
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
    options.graph_optimization_level = LEVELS[optimization]
    source = contextlib.nullcontext(str(path)) if content is None else content.source(options)
    with source as graph:
        try:
            session = ort.InferenceSession(graph, options, providers=list(dict.fromkeys((provider, CPU))))
        except Exception as error:
            raise StartupError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    if (actual := session.get_providers()[0]) != provider:
        raise StartupError(
            f"provider {provider} did not start (ONNX Runtime fell back to {actual}): are the CUDA and cuDNN "
            "libraries and a device there?"
        )
    return session


def dtype_of(node: Any) -> str:
    """The numpy dtype of a graph's input or output. Raises StartupError if it is not supported."""
    if node.type not in DTYPES:
        raise StartupError(f"{node.name!r} is {node.type}; expected one of {', '.join(DTYPES)}")
    return DTYPES[node.type]


def raise_bad_input(error: Exception, manifest: Manifest, steps: int) -> None:
    """Raise an InvalidField if a call of so many steps failed because of its input.

    Either a token id is too large, or the graph has a table of positions, and the steps are more than its.
    """
    message = str(error)
    limit = _most_steps(message, steps)
    ids_are_checked = all(spec.num_ids for spec in manifest.inputs if spec.takes_integers)
    if limit and ids_are_checked and manifest.axes.time is not None:
        raise SequenceTooLong(f"{steps} time steps in a call, the graph takes at most {limit}") from error
    takes_integers = any(spec.takes_integers for spec in manifest.inputs)
    if takes_integers and "out of data bounds" in message:
        raise InvalidField(f"the model refuses an id: {message.rpartition('Status Message: ')[2]}") from error


def _most_steps(message: str, steps: int) -> int | None:
    """How many positions a graph has, if ONNX Runtime says that a step is beyond them; else None."""
    if found := BEYOND_TABLE.search(message):
        position, last = int(found[1]), int(found[2])
        return last + 1 if last < position < steps else None
    if found := OTHER_LENGTH.search(message):
        least, most = sorted((int(found[1]), int(found[2])))
        return least if 1 < least < most == steps else None
    return None
