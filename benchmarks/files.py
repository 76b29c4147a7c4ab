"""`cellgate predict` on a file, beside ONNX Runtime alone on the same sequences, on all CPUs.

    python -m benchmarks.files SEQUENCES.npz GRAPH      one process of ONNX Runtime alone, as JSON

Of `cellgate predict` everything counts, from its start to its output; of ONNX Runtime only the calls, of
arrays that are in memory, sorted by length and padded, in one process with one thread for each CPU.
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
from collections.abc import Sequence
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
BATCHES = (16, 32, 64, 128, 256)
PART_OF = 20  # of the sequences, one tries the batch sizes
MODEL = ROOT / "models" / "vowels" / "1"
PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK_EVERY_S = 0.2  # for the memory
FORMATS = ("parquet", "csv", "ndjson")


class Ratio(NamedTuple):
    """The time of ONNX Runtime alone, divided by that of `cellgate predict`; and its memory."""

    wall: float
    cpu: float
    peak_mib: int


def run(console: Console, *, sequences: int, rounds: int, formats: Sequence[str], out: Path) -> None:
    """Measure formats in turn; print the sequences/s of each as a ratio to ONNX Runtime alone."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cellgate-files-") as name:
        _write(Path(name), sequences, formats)
        ratios = measure(console, Path(name), sequences=sequences, rounds=rounds, formats=formats)
    result = {
        form: {
            name: statistics.median(values)
            for name, values in zip(Ratio._fields, zip(*each, strict=True), strict=True)
        }
        | {"all": each}
        for form, each in ratios.items()
    }
    (out / "files.json").write_text(json.dumps({"sequences": sequences, "ratios": result}, indent=1))


def measure(
    console: Console, folder: Path, *, sequences: int, rounds: int, formats: Sequence[str]
) -> dict[str, list[Ratio]]:
    """The ratios of each round, by format, of the files in a folder."""
    ratios: dict[str, list[Ratio]] = {form: [] for form in formats}
    for number in range(rounds):
        for form in formats:
            bare, ours = _bare(folder), _predict(folder, form)
            ratio = Ratio(bare.wall_s / ours.wall_s, bare.cpu_s / ours.cpu_s, ours.peak_bytes >> 20)
            ratios[form].append(ratio)
            console.print(
                f"round {number + 1}, {form}: {sequences / ours.wall_s:,.0f} sequences/s, {ratio.wall:.2f} "
                f"of ONNX Runtime alone; by CPU time {ratio.cpu:.2f}; at most {ratio.peak_mib} MiB"
            )
    return ratios


def _write(folder: Path, sequences: int, formats: Sequence[str]) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST + 1, sequences)
    rows = random.standard_normal((int(lengths.sum()), FEATURES)).astype(np.float32)
    features = json.loads((MODEL / "model.json").read_text())["inputs"][0]["features"]
    frame = pl.DataFrame(
        {"id": np.repeat(np.arange(sequences), lengths)} | dict(zip(features, rows.T, strict=True))
    )
    ends = np.cumsum(lengths).tolist()
    if "parquet" in formats:
        frame.write_parquet(folder / "in.parquet")
    if "csv" in formats:
        frame.write_csv(folder / "in.csv")
    if "ndjson" in formats:
        _write_lines(folder / "in.ndjson", rows, lengths.tolist(), ends)
    shares = cpus.usable()
    cuts = np.linspace(0, sequences, shares + 1).astype(int).tolist()
    bounds = [0, *ends]
    for share, (first, last) in enumerate(pairwise(cuts)):
        np.savez(folder / f"{share}.npz", x=rows[bounds[first] : bounds[last]], lengths=lengths[first:last])


def _write_lines(path: Path, rows: NDArray[np.float32], lengths: list[int], ends: list[int]) -> None:
    with path.open("w") as file:
        for number, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            steps = [[float(f"{value:.7g}") for value in row] for row in rows[end - length : end].tolist()]
            file.write(json.dumps({"id": number, "steps": steps}) + "\n")


class Seconds(NamedTuple):
    """What a run took; the CPU time and the memory are those of all its processes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0  # the largest sum of resident memory, in which what they share counts for each


def _predict(folder: Path, form: str) -> Seconds:
    """The whole command, with its start and the loading of the model."""
    output = folder / f"out.{form}"
    output.unlink(missing_ok=True)
    key = [] if form == "ndjson" else ["--id", "id"]
    command = ["predict", str(MODEL), str(folder / f"in.{form}"), "-o", str(output), *key]
    _adopt_orphans()
    started, before = time.perf_counter(), _cpu_of_children()
    running = subprocess.Popen(
        [sys.executable, "-m", "service", *command],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    peak_bytes = 0
    while (status := _ended_within(running, LOOK_EVERY_S)) is None:
        peak_bytes = max(peak_bytes, _resident_bytes(running.pid))
    wall_s = time.perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(status, command)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return Seconds(wall_s, _cpu_of_children() - before, peak_bytes)


def _ended_within(running: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _resident_bytes(session: int) -> int:
    """Of all processes of a session (proc(5))."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            total += int(fields[21]) * PAGE if int(fields[3]) == session else 0
    return total


def _adopt_orphans() -> None:
    """Have processes whose parent ends become children of this one, so that their CPU time is counted."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER (prctl(2))


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _bare(folder: Path) -> Seconds:
    """At its best batch size, which each process finds: that of the slowest, and the CPU time of all."""
    command = [sys.executable, "-m", "benchmarks.files"]
    graph = str(MODEL / "model.onnx")
    running = [
        subprocess.Popen([*command, str(share), graph], cwd=ROOT, stdout=subprocess.PIPE)
        for share in sorted(folder.glob("*.npz"))
    ]
    taken = [Seconds(*json.loads(process.communicate()[0])) for process in running]
    return Seconds(max(each.wall_s for each in taken), sum(each.cpu_s for each in taken))


def bare(share: Path, graph: Path) -> Seconds:
    """What all sequences of a share take, sorted by length, at the batch size that suits a part best."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    loaded = np.load(share)
    x, lengths = loaded["x"], loaded["lengths"]
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(lengths, kind="stable")
    part = order[::PART_OF]
    tried = {size: _seconds(session, x, starts[part], lengths[part], size).cpu_s for size in BATCHES * 2}
    return _seconds(session, x, starts[order], lengths[order], min(tried, key=lambda size: tried[size]))


def _seconds(
    session: ort.InferenceSession,
    x: NDArray[np.float32],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    batch: int,
) -> Seconds:
    hidden = next(node.shape for node in session.get_inputs() if node.name == "h")[2]
    wall_s = cpu_s = 0.0
    for first in range(0, len(lengths), batch):
        own = lengths[first : first + batch]
        padded = np.zeros((len(own), int(own.max()), FEATURES), np.float32)
        for row, (start, length) in enumerate(zip(starts[first : first + batch], own, strict=True)):
            padded[row, :length] = x[start : start + length]
        state = np.zeros((1, len(own), hidden), np.float32)
        feeds = {"x": padded, "lengths": own.astype(np.int32), "h": state, "c": state}
        started, cpu = time.perf_counter(), time.process_time()
        session.run(["y"], feeds)
        wall_s += time.perf_counter() - started
        cpu_s += time.process_time() - cpu
    return Seconds(wall_s, cpu_s)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bare(Path(sys.argv[1]), Path(sys.argv[2]))))
