"""The operators of a graph say which output is the new value of which input, in functions too."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.repository.graph_file import GraphFile
from service.repository.proposal.edges import Edges
from tests.service.graphs import Shape
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import HIDDEN, HN, H, N, X, Y


def edges(path: Path) -> Edges:
    return Edges(GraphFile.read(path))


def found(path: Path) -> dict[str, tuple[str, ...]]:
    return {each.input: each.outputs for each in edges(path).recurrences() if each.has_cell}


def test_both_states_of_an_lstm(tmp_path: Path) -> None:
    outputs = [Y, fg.port(H, "cn"), HN]
    assert found(fg.save(tmp_path, fg.lstm(), [X, H, fg.port(H, "c")], outputs)) == {
        "h": ("hn", "y"),
        "c": ("cn",),
    }


def test_a_state_that_a_flag_resets(tmp_path: Path) -> None:
    nodes = [N("Mul", ["h", "keep"], ["h_kept"]), *fg.gru(h="h_kept")]
    keep: fg.Port = ("keep", fg.F32, [1, "batch", 1])
    assert found(fg.save(tmp_path, nodes, [X, H, keep], [Y, HN]))["h"] == ("hn", "y")


def test_the_states_of_scan_and_loop(tmp_path: Path) -> None:
    row: Shape = [1, 2]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [N("Add", ["s", "x_t"], ["s_out"]), N("Identity", ["s_out"], ["y_t"])],
        "body",
        [value("s", fg.F32, row), value("x_t", fg.F32, row)],
        [value("s_out", fg.F32, row), value("y_t", fg.F32, row)],
    )
    nodes = [N("Scan", ["before", "x"], ["after", "y"], num_scan_inputs=1, body=body)]
    x: fg.Port = ("x", fg.F32, ["time", 1, 2])
    path = fg.save(tmp_path, nodes, [x, ("before", fg.F32, row)], [fg.port(x, "y"), ("after", fg.F32, row)])
    assert found(path) == {"before": ("after",)}
    loop = helper.make_graph(
        [N("Identity", ["more"], ["go"]), N("Add", ["s", "s"], ["s_out"])],
        "body",
        [value("i", fg.I64, []), value("more", fg.BOOL, []), value("s", fg.F32, row)],
        [value("go", fg.BOOL, []), value("s_out", fg.F32, row)],
    )
    nodes = [N("Loop", ["trips", "", "before"], ["after"], body=loop)]
    path = fg.save(tmp_path, nodes, [("before", fg.F32, row)], [("after", fg.F32, row)], trips=np.array(3))
    assert found(path) == {"before": ("after",)}


def test_a_cell_in_the_branches_of_an_if(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info

    def branch(name: str) -> onnx.GraphProto:
        nodes = fg.gru(y=f"{name}_y", hn=f"{name}_hn")
        outputs = [value(f"{name}_y", fg.F32, Y[2]), value(f"{name}_hn", fg.F32, H[2])]
        tensors = [numpy_helper.from_array(fg.weights()[key], key) for key in ("W", "R", "B", "one")]
        return helper.make_graph(nodes, name, [], outputs, tensors if name == "a" else [])

    node = N("If", ["flag"], ["y", "hn"], then_branch=branch("a"), else_branch=branch("b"))
    path = fg.save(tmp_path, [node], [X, H, ("flag", fg.BOOL, [])], [Y, HN])
    assert found(path) == {"h": ("hn", "y")}


def test_a_cell_in_a_function(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17)]
    body = helper.make_function(
        "mine", "Step", ["a", "w", "r", "s"], ["b", "t"],
        [N("GRU", ["a", "w", "r", "", "", "s"], ["b", "t"], hidden_size=HIDDEN)], opset,
    )  # fmt: skip
    node = helper.make_node("Step", ["x", "W", "R", "h"], ["y", "hn"], domain="mine")
    path = fg.save(tmp_path, [node], [X, H], [Y, HN])
    model = onnx.load(path)
    model.functions.append(body)
    onnx.save(model, path)
    assert found(path) == {"h": ("hn", "y")}


def test_lengths_and_tables(tmp_path: Path) -> None:
    nodes = [
        N("Cast", ["n"], ["n32"], to=TensorProto.INT32),
        N("Gather", ["E", "ids"], ["x"]),
        N("GRU", ["x", "W", "R", "B", "n32", "h"], ["Y0", "hn"], hidden_size=HIDDEN),
    ]
    inputs: list[fg.Port] = [("ids", fg.I64, ["time", "batch"]), ("n", fg.I64, ["batch"]), H]
    read = edges(fg.save(tmp_path, nodes, inputs, [HN]))
    assert read.lengths == ["n"]
    assert (read.embedding_size("ids"), read.embedding_size("n")) == (fg.TOKENS, None)
