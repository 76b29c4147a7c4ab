"""Triton Inference Server from the `nvidia-pytriton` wheel: its files, a model repository, its start.

It knows the wheel's layout, not loads.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from benchmarks import cache, process
from benchmarks.cache import CLASSES, FEATURES, HERE, Model, Unavailable
from benchmarks.process import Server

MAX_BATCH = 64  # Cellgate's default

CONFIG = f"""
name: "NAME"
backend: "python"
max_batch_size: {MAX_BATCH}
input [{{ name: "x", data_type: TYPE_FP32, dims: [-1, {FEATURES}] }}]
output [{{ name: "y", data_type: TYPE_FP32, dims: [{CLASSES}] }}]
instance_group [{{ count: INSTANCES, kind: KIND_CPU }}]
parameters {{ key: "graph", value: {{ string_value: "GRAPH" }} }}
"""
BATCHING = {
    "dynamic": "dynamic_batching { }\n",
    "sequence": """
sequence_batching {
  max_sequence_idle_microseconds: 86400000000
  oldest { max_candidate_sequences: 1024 }
  control_input [
    { name: "START", control [{ kind: CONTROL_SEQUENCE_START, int32_false_true: [0, 1] }] },
    { name: "END", control [{ kind: CONTROL_SEQUENCE_END, int32_false_true: [0, 1] }] },
    { name: "CORRID", control [{ kind: CONTROL_SEQUENCE_CORRID, data_type: TYPE_UINT64 }] }
  ]
}
""",
}


def start(model: Model, batcher: str, work: Path, *, instances: int, grpc_port: int | None = None) -> Server:
    """Run Triton with the model under one batcher, over HTTP and, with a port, gRPC. Raises Unavailable."""
    home, libraries = _install()
    repository = work / f"triton-{batcher}"
    _write_repository(repository, model, batcher, instances)
    port = process.free_port()
    env = cache.environment()
    command: list[str | Path] = [
        home / "bin/tritonserver",
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        *(["--allow-grpc=false"] if grpc_port is None else _grpc(grpc_port)),
        "--allow-metrics=false",
        "--exit-timeout-secs=1",
    ]
    paths = {
        "LD_LIBRARY_PATH": f"{libraries}:{sysconfig.get_config_var('LIBDIR')}",
        "PATH": f"{env / 'bin'}:{os.environ.get('PATH', '')}",  # the stub uses its packages
        "PYTHONPATH": str(env / "lib" / _python() / "site-packages"),
    }
    ready = f"/v2/models/{batcher}/ready"
    return process.start(command, paths, port=port, ready=ready, log=work / f"triton-{batcher}.log")


def _grpc(port: int) -> list[str]:
    return ["--allow-grpc=true", "--grpc-address=127.0.0.1", f"--grpc-port={port}"]


def _python() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _install() -> tuple[Path, Path]:
    """The folders of the server and its libraries, after installing the stub for this Python."""
    packages = cache.environment() / "lib" / _python() / "site-packages"
    home = packages / "pytriton/tritonserver"
    stub = home / "python_backend_stubs" / _python().removeprefix("python") / "triton_python_backend_stub"
    if not stub.is_file():
        raise Unavailable(f"the nvidia-pytriton wheel has no stub for {_python()}")
    installed = home / "backends/python" / stub.name
    if not installed.is_file():
        shutil.copy(stub, installed)
    for program in (installed, home / "bin/tritonserver"):
        program.chmod(0o755)
    return home, packages / "nvidia_pytriton.libs"


def _write_repository(repository: Path, model: Model, batcher: str, instances: int) -> None:
    folder = repository / batcher / "1"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "triton_model.py", folder / "model.py")
    values = {"NAME": batcher, "INSTANCES": str(instances), "GRAPH": str(model.graph)}
    config = CONFIG
    for name, value in values.items():
        config = config.replace(name, value)
    (folder.parent / "config.pbtxt").write_text(config + BATCHING[batcher])
