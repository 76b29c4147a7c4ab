"""Measures a graph in ONNX Runtime: how good it is, how large, how quick."""

import time
from statistics import median

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from training.batches import Batch, in_order
from training.cells.cell import state_out
from training.data.dataset import DataSet, Split
from training.export.network import LENGTHS, OUTPUT, feeds, said
from training.model import Network
from training.tasks import of

Floats = NDArray[np.float32]
SINGLE, BATCHED = "one step of one sequence", "50 steps of 32 sequences"
SHAPES = {SINGLE: (1, 1), BATCHED: (32, 50)}
ROUNDS = 9


def session_of(graph: bytes) -> ort.InferenceSession:
    """The graph on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def scores(graph: bytes, network: Network, data: DataSet, split: Split) -> dict[str, float]:
    """Every measure of the data set's task. `network` gives the names of what goes in and out."""
    session, task = session_of(graph), of(data)
    picked, truth = [], []
    for batch in in_order(split, batch_size=64):
        y = torch.from_numpy(_run(session, [said(network)], network, batch)[0])
        one, known = task.pick(y, batch.lengths, batch.targets)
        picked.append(one.numpy())
        truth.append(known.numpy())
    return task.score(network, np.concatenate(picked), np.concatenate(truth)).metrics


def last_output(graph: bytes, network: Network, sequence: Floats) -> Floats:
    """What is said at the last step of one sequence."""
    batch = Batch(torch.from_numpy(sequence)[None], torch.tensor([len(sequence)]), torch.zeros(1))
    last: Floats = _run(session_of(graph), [OUTPUT], network, batch)[0][0, -1]
    return last


def difference(graph: bytes, other: bytes, network: Network, split: Split) -> dict[str, float]:
    """The largest absolute differences of two graphs, by tensor: outputs at true steps, final states."""
    names = [said(network), *map(state_out, network.states)]
    found = dict.fromkeys(names, 0.0)
    ours, theirs = session_of(graph), session_of(other)
    for batch in in_order(split, batch_size=64):
        is_true = np.arange(batch.x.shape[1]) < batch.lengths.numpy()[:, None]
        pairs = zip(*(_run(session, names, network, batch) for session in (ours, theirs)), strict=True)
        for name, (one, two) in zip(names, pairs, strict=True):
            away = np.abs(one - two)
            found[name] = max(found[name], float((away[is_true] if name == names[0] else away).max()))
    return found


def latencies(graphs: dict[str, bytes], network: Network, columns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each graph for each of SHAPES: medians of rounds that take turns, on one thread."""
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in graphs}
    for what, (rows, steps) in SHAPES.items():
        x = torch.zeros(rows, steps, columns)
        batch = Batch(x, torch.full((rows,), steps), torch.zeros(rows))
        calls = 200 if steps == 1 else 8
        taken: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                taken[name].append(_timed(session, network, batch, calls))
        for name, rounds in taken.items():
            found[name][what] = median(rounds)
    return found


def _timed(session: ort.InferenceSession, network: Network, batch: Batch, calls: int) -> float:
    """Milliseconds a call, of the graph as it was given: states as this graph has them."""
    given = _feeds(session, network, batch)
    begun = time.perf_counter()
    for _ in range(calls):
        session.run(None, given)
    return (time.perf_counter() - begun) / calls * 1000


def _run(session: ort.InferenceSession, names: list[str], network: Network, batch: Batch) -> list[Floats]:
    found: list[Floats] = session.run(names, _feeds(session, network, batch))
    return found


def _feeds(session: ort.InferenceSession, network: Network, batch: Batch) -> dict[str, NDArray[np.generic]]:
    """Inputs, lengths, and zeros for states, whose widths are the graph's own."""
    given = {**feeds(network, batch.x.numpy()), LENGTHS: batch.lengths.numpy().astype(np.int32)}
    for node in session.get_inputs():
        if node.name not in given:
            layers, _, width = node.shape
            given[node.name] = np.zeros((layers, len(batch.x), width), np.float32)
    return given
