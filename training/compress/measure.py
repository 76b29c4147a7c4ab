"""Measures a graph in ONNX Runtime: scores, differences, latency. Knows nothing of compression."""

import time
from statistics import median

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from training.batches import Batch, in_order
from training.cells.cell import state_out
from training.data.dataset import DataSet, Split
from training.export.network import LENGTHS, OUTPUT, feeds, network_output
from training.model import Network
from training.tasks import of

Floats = NDArray[np.float32]
SINGLE, BATCHED = "one step of one sequence", "50 steps of 32 sequences"
SHAPES = {SINGLE: (1, 1), BATCHED: (32, 50)}
ROUNDS = 9


def session_of(graph: bytes) -> ort.InferenceSession:
    """A session of the graph on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def scores(graph: bytes, network: Network, data: DataSet, split: Split) -> dict[str, float]:
    """All scores of the data set's task. `network` provides the names of inputs and outputs."""
    session, task = session_of(graph), of(data)
    outputs, truth = [], []
    for batch in in_order(split, batch_size=64):
        y = torch.from_numpy(_run(session, [network_output(network)], network, batch)[0])
        picked, known = task.pick(y, batch.lengths, batch.targets)
        outputs.append(picked.numpy())
        truth.append(known.numpy())
    return task.score(network, np.concatenate(outputs), np.concatenate(truth)).metrics


def last_output(graph: bytes, network: Network, sequence: Floats) -> Floats:
    """The output at the last step of one sequence."""
    batch = Batch(torch.from_numpy(sequence)[None], torch.tensor([len(sequence)]), torch.zeros(1))
    last: Floats = _run(session_of(graph), [OUTPUT], network, batch)[0][0, -1]
    return last


def difference(graph: bytes, other: bytes, network: Network, split: Split) -> dict[str, float]:
    """The largest absolute differences of two graphs, by tensor: outputs at true steps, final states."""
    names = [network_output(network), *map(state_out, network.states)]
    largest = dict.fromkeys(names, 0.0)
    sessions = session_of(graph), session_of(other)
    for batch in in_order(split, batch_size=64):
        is_true = np.arange(batch.x.shape[1]) < batch.lengths.numpy()[:, None]
        pairs = zip(*(_run(session, names, network, batch) for session in sessions), strict=True)
        for name, (first, second) in zip(names, pairs, strict=True):
            differences = np.abs(first - second)
            differences = differences[is_true] if name == names[0] else differences
            largest[name] = max(largest[name], float(differences.max()))
    return largest


def latencies(graphs: dict[str, bytes], network: Network, columns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each graph for each of SHAPES: medians of alternating rounds, on one thread."""
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    medians: dict[str, dict[str, float]] = {name: {} for name in graphs}
    for shape, (rows, steps) in SHAPES.items():
        x = torch.zeros(rows, steps, columns)
        batch = Batch(x, torch.full((rows,), steps), torch.zeros(rows))
        calls = 200 if steps == 1 else 8
        times: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                times[name].append(_timed(session, network, batch, calls))
        for name, rounds in times.items():
            medians[name][shape] = median(rounds)
    return medians


def _timed(session: ort.InferenceSession, network: Network, batch: Batch, calls: int) -> float:
    """Milliseconds per call."""
    inputs = _feeds(session, network, batch)
    started_at = time.perf_counter()
    for _ in range(calls):
        session.run(None, inputs)
    return (time.perf_counter() - started_at) / calls * 1000


def _run(session: ort.InferenceSession, names: list[str], network: Network, batch: Batch) -> list[Floats]:
    outputs: list[Floats] = session.run(names, _feeds(session, network, batch))
    return outputs


def _feeds(session: ort.InferenceSession, network: Network, batch: Batch) -> dict[str, NDArray[np.generic]]:
    """Inputs, lengths, and zeros for the states, with the widths that the graph declares."""
    inputs = {**feeds(network, batch.x.numpy()), LENGTHS: batch.lengths.numpy().astype(np.int32)}
    for node in session.get_inputs():
        if node.name not in inputs:
            layers, _, width = node.shape
            dtype = np.float64 if node.type == "tensor(double)" else np.float32
            inputs[node.name] = np.zeros((layers, len(batch.x), width), dtype)
    return inputs
