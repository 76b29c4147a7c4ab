"""`cellgate predict` on a file, beside ONNX Runtime alone on the same sequences, on all CPUs.

    python -m benchmarks.files SEQUENCES.npz GRAPH      one process of ONNX Runtime alone, as JSON

Of `cellgate predict` everything counts, from its start to its output; of ONNX Runtime only the calls, of
arrays that are in memory, sorted by length and padded.
"""

import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.cache import ROOT
from service import cpus

FEATURES = 12
SHORTEST, LONGEST = 7, 29  # as the utterances of the Japanese vowels
BATCHES = (32, 64, 128, 256)
MODEL = ROOT / "models" / "vowels" / "1"
FORMATS = ("parquet", "csv", "ndjson")


def run(console: Console, *, sequences: int, rounds: int, out: Path) -> None:
    """Measure all formats; print the sequences/s of each as a ratio to ONNX Runtime alone."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cellgate-files-") as name:
        folder = Path(name)
        _write(folder, sequences)
        ratios: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMATS}
        for number in range(rounds):
            bare = _bare(folder)
            console.print(
                f"round {number + 1}: ONNX Runtime alone {sequences / bare.wall_s:,.0f} sequences/s"
            )
            for form in FORMATS:
                ours = _predict(folder, form)
                ratios[form].append((bare.wall_s / ours.wall_s, bare.cpu_s / ours.cpu_s))
                wall, cpu = ratios[form][-1]
                rate = sequences / ours.wall_s
                console.print(f"  {form}: {rate:,.0f} sequences/s, {wall:.2f} of it; by CPU time {cpu:.2f}")
    result = {
        form: {"wall": statistics.median(wall), "cpu": statistics.median(cpu), "all": each}
        for form, each in ratios.items()
        for wall, cpu in [tuple(zip(*each, strict=True))]
    }
    (out / "files.json").write_text(json.dumps({"sequences": sequences, "ratios": result}, indent=1))


def _write(folder: Path, sequences: int) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST + 1, sequences)
    rows = random.standard_normal((int(lengths.sum()), FEATURES)).astype(np.float32)
    features = json.loads((MODEL / "model.json").read_text())["inputs"][0]["features"]
    frame = pl.DataFrame(
        {"id": np.repeat(np.arange(sequences), lengths)} | dict(zip(features, rows.T, strict=True))
    )
    frame.write_parquet(folder / "in.parquet")
    frame.write_csv(folder / "in.csv")
    ends = np.cumsum(lengths).tolist()
    with (folder / "in.ndjson").open("w") as file:
        for number, (end, length) in enumerate(zip(ends, lengths.tolist(), strict=True)):
            steps = [[float(f"{value:.7g}") for value in row] for row in rows[end - length : end].tolist()]
            file.write(json.dumps({"id": number, "steps": steps}) + "\n")
    shares = cpus.usable()
    cuts = np.linspace(0, sequences, shares + 1).astype(int).tolist()
    bounds = [0, *ends]
    for share, (first, last) in enumerate(pairwise(cuts)):
        np.savez(folder / f"{share}.npz", x=rows[bounds[first] : bounds[last]], lengths=lengths[first:last])


class Seconds(NamedTuple):
    """What a run took; the CPU time is that of all its processes."""

    wall_s: float
    cpu_s: float


def _predict(folder: Path, form: str) -> Seconds:
    """The whole command, with its start and the loading of the model."""
    output = folder / f"out.{form}"
    output.unlink(missing_ok=True)
    key = [] if form == "ndjson" else ["--id", "id"]
    command = ["predict", str(MODEL), str(folder / f"in.{form}"), "-o", str(output), *key]
    _adopt_orphans()
    started, before = time.perf_counter(), _cpu_of_children()
    subprocess.run([sys.executable, "-m", "service", *command], cwd=ROOT, check=True, capture_output=True)
    wall_s = time.perf_counter() - started
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return Seconds(wall_s, _cpu_of_children() - before)


def _adopt_orphans() -> None:
    """Have processes whose parent ends become children of this one, so that their CPU time is counted."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER (prctl(2))


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _bare(folder: Path) -> Seconds:
    """At its best batch size: the calls of the slowest process, and the CPU time of all."""
    command = [sys.executable, "-m", "benchmarks.files"]
    graph = str(MODEL / "model.onnx")
    running = [
        subprocess.Popen([*command, str(share), graph], cwd=ROOT, stdout=subprocess.PIPE)
        for share in sorted(folder.glob("*.npz"))
    ]
    tables = [json.loads(process.communicate()[0]) for process in running]
    by_batch = [
        Seconds(max(table[size][0] for table in tables), sum(table[size][1] for table in tables))
        for size in tables[0]
    ]
    return min(by_batch)


def bare(share: Path, graph: Path) -> dict[int, Seconds]:
    """What all sequences of a share take, by batch size; the sequences are sorted by length first."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    loaded = np.load(share)
    x, lengths = loaded["x"], loaded["lengths"]
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(lengths, kind="stable")
    return {batch: _seconds(session, x, starts[order], lengths[order], batch) for batch in BATCHES}


def _seconds(
    session: ort.InferenceSession,
    x: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    batch: int,
) -> Seconds:
    hidden = next(node.shape for node in session.get_inputs() if node.name == "h")[2]
    feeds = []
    for first in range(0, len(lengths), batch):
        own = lengths[first : first + batch]
        padded = np.zeros((len(own), int(own.max()), FEATURES), np.float32)
        for row, (start, length) in enumerate(zip(starts[first : first + batch], own, strict=True)):
            padded[row, :length] = x[start : start + length]
        state = np.zeros((1, len(own), hidden), np.float32)
        feeds.append({"x": padded, "lengths": own.astype(np.int32), "h": state, "c": state})
    session.run(["y"], feeds[0])
    started, cpu = time.perf_counter(), time.process_time()
    for each in feeds:
        session.run(["y"], each)
    return Seconds(time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bare(Path(sys.argv[1]), Path(sys.argv[2]))))
