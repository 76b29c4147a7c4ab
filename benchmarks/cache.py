"""Files that are kept between runs: an environment for the peers, and the models that all of them serve.

It knows packages and graphs, not servers or loads.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

HERE = Path(__file__).parent
ROOT = HERE.parent
FEATURES, CLASSES = 12, 9
Array = NDArray[np.float32]


class Unavailable(Exception):
    """A peer or a tool is not available on this machine; the message goes into the table."""


def folder() -> Path:
    """`$XDG_CACHE_HOME/cellgate-benchmarks`, or `benchmarks/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    path = Path(base) / "cellgate-benchmarks" if base else HERE / ".cache"
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment() -> Path:
    """The peers' virtual environment, created on first use. Raises Unavailable if pip fails."""
    required = (HERE / "requirements.txt").read_text()
    path = folder() / f"venv-{platform.python_version()}"
    done = path / "requirements.done"
    if done.is_file() and done.read_text() == required:
        return path
    shutil.rmtree(path, ignore_errors=True)
    venv.create(path, with_pip=True)
    command = [str(path / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, "--no-deps", "--requirement", HERE / "requirements.txt"], capture_output=True, text=True
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"pip could not install benchmarks/requirements.txt: {last}")
    done.write_text(required)
    return path


def tool(name: str, package: str) -> str:
    """The path of an installed program. Raises Unavailable with the command that installs it."""
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed; on Debian: apt-get install {package}")
    return path


@dataclass(frozen=True, slots=True)
class Model:
    """A graph with random weights, in a model repository of its own."""

    hidden: int
    layers: int
    int8: bool = False

    @property
    def name(self) -> str:
        """Its name in the repository."""
        return f"lstm-{self.layers}x{self.hidden}" + ("-int8" if self.int8 else "")

    @property
    def repository(self) -> Path:
        """The model repository with only this model."""
        return folder() / "models" / self.name

    @property
    def graph(self) -> Path:
        """The ONNX file that every peer loads."""
        return self.repository / self.name / "1" / "model.onnx"

    def make(self) -> "Model":
        """Export the model unless it exists; return it."""
        if not self.graph.with_name("model.json").is_file():
            shutil.rmtree(self.graph.parent, ignore_errors=True)
            self._quantize() if self.int8 else self._export()
        return self

    def session(self, threads: int = 1) -> ort.InferenceSession:
        """The graph in ONNX Runtime, with Cellgate's options."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])

    def zero(self, batch: int) -> dict[str, Array]:
        """The state of `batch` new sequences."""
        shape = (self.layers, batch, self.hidden)  # [layers, batch, hidden]
        return {"h": np.zeros(shape, np.float32), "c": np.zeros(shape, np.float32)}

    def answer(self, x: Array) -> Array:
        """The correct answer for one sequence [time, features]: the output of its last step."""
        lengths = np.array([len(x)], np.int32)
        feeds: dict[str, Any] = {"x": x[np.newaxis], "lengths": lengths, **self.zero(1)}
        (y,) = self.session().run(["y"], feeds)
        last: Array = np.asarray(y)[0, -1]
        return last

    def _export(self) -> None:
        size = {"hidden": self.hidden, "layers": self.layers, "features": FEATURES, "classes": CLASSES}
        options = [text for name, value in size.items() for text in (f"--{name}", str(value))]
        self.graph.parent.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "training", "export", "--random", *options, str(self.graph.parent)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    def _quantize(self) -> None:
        """Quantize to dynamic INT8. The example gets a new answer with a large tolerance."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        whole = Model(self.hidden, self.layers).make()
        self.graph.parent.mkdir(parents=True)
        quantize_dynamic(whole.graph, self.graph, weight_type=QuantType.QInt8)
        manifest = json.loads(whole.graph.with_name("model.json").read_text())
        manifest["description"] += ", INT8"
        x = np.array(manifest["example"]["steps"], np.float32)
        y = self.answer(x)
        manifest["example"] |= {"output": [round(float(v), 6) for v in y], "tolerance": 0.05}
        self.graph.with_name("model.json").write_text(json.dumps(manifest))
