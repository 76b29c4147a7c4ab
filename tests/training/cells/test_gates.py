"""The gates that a graph shows: PyTorch's in float64, at no cost to what it computed without them."""

import copy
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from service.repository.graph_file import GraphFile
from service.repository.pruned import pruned
from training import cells
from training.cells.cell import CellError, Gates
from training.data.dataset import DataSet
from training.export import random_network
from training.export.gates import check_gates, shown_gates, traced_gates
from training.export.network import LENGTHS, gates_output, write_graph
from training.export.parity import ParityError
from training.model import Network

GATED = [
    "article",
    "bidirectional",
    "gru",
    "layer_norm",
    "lstm",
    "min_gru",
    "min_lstm",
    "peephole",
    "projected",
    "skip",
]
RECOMPUTED = ("peephole",)  # from c of a `Scan`, where the answers have that of the `LSTM` node
LSTM_GATES = {"in_gate", "forget_gate", "out_gate", "in_transform"}

every_gated_cell = pytest.mark.parametrize("name", GATED)


@dataclass
class Shown:
    """A network whose graph shows its gates."""

    network: Network
    data: DataSet
    gates: list[Gates]
    graph: bytes

    def run(self, x: NDArray[np.float32], lengths: list[int], state: dict[str, Any]) -> dict[str, Any]:
        """All outputs by name."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feeds = {"x": x, LENGTHS: np.array(lengths, np.int32)} | state
        return dict(zip(names, session.run(names, feeds), strict=True))

    def start(self, batch: int) -> dict[str, Any]:
        states = zip(self.network.states, self.network.initial_state(batch), strict=True)
        return {name: state.numpy() for name, state in states}


@functools.cache
def shown(name: str, layers: int = 2) -> Shown:
    network, data = random_network(cell=name, features=5, hidden=24, layers=layers, classes=3, seed=1)
    network.learn_normalisation(tuple(3 * sequence + 1 for sequence in data.train.sequences))
    gates: list[Gates] = []
    return Shown(network, data, gates, write_graph(network.eval(), gates=gates).SerializeToString())


@every_gated_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_gates_are_those_of_pytorch(name: str, layers: int) -> None:
    one = shown(name, layers)
    assert {each.layer for each in one.gates} == set(range(layers))
    exact = copy.deepcopy(one.network).double()
    for sequence in one.data.test.sequences[:2]:
        assert check_gates(one.graph, one.network, one.gates, sequence) < 2e-6
        truth = traced_gates(exact, one.gates, sequence)
        for key, values in shown_gates(one.graph, one.network, one.gates, sequence).items():
            np.testing.assert_allclose(values, truth[key], rtol=0, atol=2e-6)
            assert np.ptp(values) > 0.01


def test_the_names_are_those_of_the_cells_equations() -> None:
    for name in GATED:
        names = set(shown(name, 1).gates[0].names)
        expected = {
            "gru": {"update_gate", "reset_gate", "in_transform"},
            "min_gru": {"update_gate", "in_transform"},
            "min_lstm": {"in_gate", "forget_gate", "in_transform"},
        }
        assert names == expected.get(name, LSTM_GATES), name
    both = shown("bidirectional").gates
    assert [(each.layer, each.direction) for each in both] == [
        (0, "forward"),
        (0, "backward"),
        (1, "forward"),
        (1, "backward"),
    ]


@every_gated_cell
def test_without_its_gates_the_graph_is_the_one_that_never_had_them(name: str, tmp_path: Any) -> None:
    """Byte for byte: so a request that wants no gates is computed as if there were none."""
    one = shown(name)
    path = tmp_path / "model.onnx"
    path.write_bytes(one.graph)
    unwanted = {gates_output(each) for each in one.gates}
    assert pruned(one.graph, GraphFile.read(path), unwanted) == write_graph(one.network).SerializeToString()


@every_gated_cell
def test_answers_and_states_have_the_same_bits_with_gates(name: str) -> None:
    one = shown(name)
    plain = Shown(one.network, one.data, [], write_graph(one.network).SerializeToString())
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((4, 9, 5)).astype(np.float32), [9, 1, 4, 9]
    with_gates, without = (each.run(x, lengths, each.start(4)) for each in (one, plain))
    for key, values in without.items():
        np.testing.assert_array_equal(with_gates[key], values)


@every_gated_cell
@pytest.mark.parametrize("cuts", [(1, 2), (4,), (8,)])
def test_in_pieces_and_in_batches_gates_are_those_of_the_whole(name: str, cuts: tuple[int, ...]) -> None:
    one = shown(name)
    keys = [gates_output(each) for each in one.gates]
    x = np.random.default_rng(2).standard_normal((3, 9, 5)).astype(np.float32)
    whole = one.run(x[:1], [9], one.start(1))
    together = one.run(x, [9, 4, 7], one.start(3))
    for key in keys:
        np.testing.assert_array_equal(together[key][:1], whole[key])
    if not one.network.cell.causal:
        return
    state, parts = one.start(1), []
    for begin, end in zip((0, *cuts), (*cuts, 9), strict=True):
        parts.append(one.run(x[:1, begin:end], [end - begin], state))
        state = {key: parts[-1][f"{key}_out"] for key in state}
    for key in keys:
        joined = np.concatenate([part[key] for part in parts], axis=1)
        np.testing.assert_allclose(joined, whole[key], rtol=0, atol=1e-6 if name in RECOMPUTED else 0)


def test_a_cell_without_gates_refuses_to_show_any() -> None:
    for name in set(cells.names()) - set(GATED):
        if name == "conv_lstm":
            continue  # its frames need another layout
        network, _ = random_network(cell=name, features=4, hidden=8, layers=1, classes=2, seed=0)
        with pytest.raises(CellError, match="has no gates that a graph can show"):
            write_graph(network, gates=[])


def test_wrong_gates_are_not_exported() -> None:
    one = shown("lstm", 1)
    other = copy.deepcopy(one.network)
    dict(other.named_parameters())["cell.rnn.bias_ih_l0"].data[:24] += 0.01
    with pytest.raises(ParityError, match=r"gates_of_layer_0 of ONNX Runtime and PyTorch differ by 0\.00"):
        check_gates(one.graph, other, one.gates, one.data.test.sequences[0])
