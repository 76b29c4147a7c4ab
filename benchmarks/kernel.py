"""ONNX Runtime alone: CPU seconds for a step of the graph, at each batch size, with one process a core.

    python -m benchmarks.kernel MODEL.onnx STEPS SECONDS     one process's figures, as JSON

It knows graphs, not HTTP.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.cache import ROOT, Model

BATCHES = (1, 4, 8, 16, 32, 64, 128, 512)
MAX_CELLS = 512 * 100  # batch × steps of one call; larger calls do not fit the cache


def sweep(model: Model, steps: int, *, processes: int, seconds: float) -> dict[int, float]:
    """Steps per second of all processes together, by batch size."""
    command = [sys.executable, "-m", "benchmarks.kernel", str(model.graph), str(steps), str(seconds)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(processes)]
    tables = [json.loads(process.communicate()[0]) for process in running]
    return {int(batch): sum(table[batch] for table in tables) for batch in tables[0]}


def steps_per_cpu_s(graph: Path, steps: int, batch: int, seconds: float) -> float:
    """Steps of `batch` equal sequences per second of CPU, independent of other processes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    layers, _, hidden = next(node.shape for node in session.get_inputs() if node.name == "h")
    features = next(node.shape for node in session.get_inputs() if node.name == "x")[2]
    state = np.zeros((layers, batch, hidden), np.float32)
    x = np.random.default_rng(0).standard_normal((batch, steps, features), np.float32)
    feeds: dict[str, Any] = {"x": x, "lengths": np.full(batch, steps, np.int32), "h": state, "c": state}
    names = ["y", "h_out", "c_out"]
    session.run(names, feeds)
    calls, wall, cpu = 0, time.perf_counter(), time.process_time()
    while calls < 3 or time.perf_counter() - wall < seconds:
        session.run(names, feeds)
        calls += 1
    return calls * batch * steps / (time.process_time() - cpu)


def main(graph: str, steps: int, seconds: float) -> None:
    """Measure each batch size up to MAX_CELLS."""
    batches = [batch for batch in BATCHES if batch == 1 or batch * steps <= MAX_CELLS]
    share = seconds / len(batches)
    sys.stdout.write(json.dumps({b: steps_per_cpu_s(Path(graph), steps, b, share) for b in batches}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
