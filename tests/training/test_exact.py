"""ONNX Runtime answers the committed model bit for bit alike, however sequences are batched and cut."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.export import random_network
from training.export.network import write_graph

Floats = NDArray[np.float32]
Answer = tuple[Floats, Floats, Floats]  # y [steps, out], h and c [layers, hidden]
OUTPUTS = ["y", "h_out", "c_out"]


class Runner:
    """A graph, the shape of its state, and one way to call it."""

    def __init__(self, graph: bytes | Path) -> None:
        self.session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        [shape] = [given.shape for given in self.session.get_inputs() if given.name == "h"]
        self.layers, self.hidden = shape[0], shape[2]

    def run(self, chunks: list[Floats], states: list[tuple[Floats, Floats]]) -> list[Answer]:
        """One call: ragged chunks [steps, features], padded with rubbish, each with its own state."""
        lengths = np.array([len(chunk) for chunk in chunks], np.int32)
        x = np.full((len(chunks), lengths.max(), chunks[0].shape[1]), 1e3, np.float32)
        for row, chunk in enumerate(chunks):
            x[row, : len(chunk)] = chunk
        h, c = (np.stack(parts, axis=1) for parts in zip(*states, strict=True))
        y, h, c = self.session.run(OUTPUTS, {"x": x, "lengths": lengths, "h": h, "c": c})
        return [(y[row, :length], h[:, row], c[:, row]) for row, length in enumerate(lengths)]

    def start(self) -> tuple[Floats, Floats]:
        zeros = np.zeros((self.layers, self.hidden), np.float32)
        return zeros, zeros


@pytest.fixture(scope="module", params=["committed", "two layers"])
def runner(request: pytest.FixtureRequest, repository: Path) -> Runner:
    if request.param == "committed":
        return Runner(repository / "models/vowels/1/model.onnx")
    network, _ = random_network(cell="lstm", features=12, hidden=96, layers=2, classes=5, seed=0)
    return Runner(write_graph(network.eval()).SerializeToString())


@st.composite
def cuts(draw: st.DrawFn, steps: int) -> list[int]:
    """The lengths of the chunks of a sequence."""
    places = sorted(draw(st.sets(st.integers(1, steps - 1), max_size=6))) if steps > 1 else []
    return [int(length) for length in np.diff([0, *places, steps])]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 99), st.data())
def test_any_batching_and_any_chunking_gives_the_same_bits(
    runner: Runner, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    sequences = [rng.standard_normal((length, 12)).astype(np.float32) for length in lengths]
    one_shot = [runner.run([sequence], [runner.start()])[0] for sequence in sequences]

    left = [data.draw(cuts(length)) for length in lengths]
    at, states = [0] * len(lengths), [runner.start() for _ in lengths]
    said: list[list[Floats]] = [[] for _ in lengths]
    while any(left):
        waiting = [row for row, chunks in enumerate(left) if chunks]
        rows = data.draw(st.lists(st.sampled_from(waiting), min_size=1, unique=True))
        sizes = [left[row].pop(0) for row in rows]
        chunks = [sequences[row][at[row] : at[row] + size] for row, size in zip(rows, sizes, strict=True)]
        answers = runner.run(chunks, [states[row] for row in rows])
        for row, size, (y, h, c) in zip(rows, sizes, answers, strict=True):
            said[row].append(y)
            states[row], at[row] = (h, c), at[row] + size

    for row, (y, h, c) in enumerate(one_shot):
        assert np.array_equal(np.concatenate(said[row]), y)
        assert np.array_equal(states[row][0], h)
        assert np.array_equal(states[row][1], c)
