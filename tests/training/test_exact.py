"""ONNX Runtime computes the same bits for every cell, however sequences are batched and cut."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training import cells
from training.export import random_network
from training.export.network import write_graph

Floats = NDArray[np.float32]
SIZES = [
    (name, hidden) for name in cells.names() for hidden in (37, 96) if (name, hidden) != ("conv_lstm", 96)
]
PORTABLE = ("gated_delta", "gla")  # cells whose portable graph differs
Answer = tuple[Floats, list[Floats]]  # y [steps, out], states each [layers, width]


class Runner:
    """A graph, the shapes of its states, and a call of it."""

    def __init__(self, graph: bytes | Path) -> None:
        self.session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.shapes = {
            node.name: (node.shape[0], node.shape[2])
            for node in self.session.get_inputs()
            if node.name not in ("x", "lengths")
        }
        self.outputs = ["y", *(f"{name}_out" for name in self.shapes)]

    def run(self, chunks: list[Floats], states: list[list[Floats]]) -> list[Answer]:
        """One call: ragged chunks [steps, features], padded with large numbers, each with its own state."""
        lengths = np.array([len(chunk) for chunk in chunks], np.int32)
        x = np.full((len(chunks), lengths.max(), chunks[0].shape[1]), 1e3, np.float32)
        for row, chunk in enumerate(chunks):
            x[row, : len(chunk)] = chunk
        starts = (np.stack(parts, axis=1) for parts in zip(*states, strict=True))
        feeds = {"x": x, "lengths": lengths, **dict(zip(self.shapes, starts, strict=True))}
        y, *ends = self.session.run(self.outputs, feeds)
        return [(y[row, :length], [end[:, row] for end in ends]) for row, length in enumerate(lengths)]

    def start(self) -> list[Floats]:
        return [np.zeros(shape, np.float32) for shape in self.shapes.values()]


@pytest.fixture(
    scope="module",
    params=["committed", *SIZES, *((name, 37, "portable") for name in PORTABLE)],
    ids=lambda param: param if isinstance(param, str) else " ".join(map(str, param)),
)
def runner(request: pytest.FixtureRequest, models_dir: Path) -> Runner:
    if request.param == "committed":
        return Runner(models_dir / "vowels/1/model.onnx")
    name, hidden, *portable = request.param
    network, _ = random_network(cell=name, features=12, hidden=hidden, layers=2, classes=5, seed=0)
    return Runner(write_graph(network.eval(), is_portable=bool(portable)).SerializeToString())


@st.composite
def cuts(draw: st.DrawFn, steps: int) -> list[int]:
    """The lengths of the chunks of a sequence."""
    places = sorted(draw(st.sets(st.integers(1, steps - 1), max_size=6))) if steps > 1 else []
    return [int(length) for length in np.diff([0, *places, steps])]


@pytest.mark.promise(5)
@settings(max_examples=15, deadline=None)  # of each graph
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 99), st.data())
def test_any_batching_and_any_chunking_gives_the_same_bits(
    runner: Runner, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    sequences = [rng.standard_normal((length, 12)).astype(np.float32) for length in lengths]
    one_shot = [runner.run([sequence], [runner.start()])[0] for sequence in sequences]

    # without a state a sequence cannot be cut: only batches are tried
    left = [data.draw(cuts(length)) if runner.shapes else [length] for length in lengths]
    at, states = [0] * len(lengths), [runner.start() for _ in lengths]
    outputs: list[list[Floats]] = [[] for _ in lengths]
    while any(left):
        waiting = [row for row, chunks in enumerate(left) if chunks]
        rows = data.draw(st.lists(st.sampled_from(waiting), min_size=1, unique=True))
        sizes = [left[row].pop(0) for row in rows]
        chunks = [sequences[row][at[row] : at[row] + size] for row, size in zip(rows, sizes, strict=True)]
        answers = runner.run(chunks, [states[row] for row in rows])
        for row, size, (y, end) in zip(rows, sizes, answers, strict=True):
            outputs[row].append(y)
            states[row], at[row] = end, at[row] + size

    for row, (y, end) in enumerate(one_shot):
        assert np.array_equal(np.concatenate(outputs[row]), y)
        assert all(np.array_equal(*pair) for pair in zip(states[row], end, strict=True))
