"""A graph is opened from memory: its external files may change, or be gone, before and after."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.engine.content import GraphContent
from service.engine.graph import CPU, load_session
from service.errors import StartupError

SIZE = 2000
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIZE])
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE])
FLAG = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])


def external(name: str, location: str) -> onnx.TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[SIZE], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=location)
    return tensor


def branch(name: str, location: str) -> onnx.GraphProto:
    node = helper.make_node("Add", [name, "x"], ["y"])
    return helper.make_graph([node], name, [], [Y], [external(name, location)])


def in_the_graph() -> onnx.GraphProto:
    node = helper.make_node("Add", ["w", "x"], ["y"])
    return helper.make_graph([node], "g", [X, FLAG], [Y], [external("w", "a.bin")])


def in_an_attribute() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=external("", "./a.bin")),
        helper.make_node("Add", ["w", "x"], ["y"]),
    ]
    return helper.make_graph(nodes, "g", [X, FLAG], [Y])


def in_branches() -> onnx.GraphProto:
    branches = {"then_branch": branch("w1", "a.bin"), "else_branch": branch("w2", "in/b.bin")}
    return helper.make_graph([helper.make_node("If", ["flag"], ["y"], **branches)], "g", [X, FLAG], [Y])


def content(graph: onnx.GraphProto, *, is_nested: bool = False, **files: float) -> GraphContent:
    """Files by name, "__" for "/" and "_" for ".", each of one number."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    names = {name: name.replace("__", "/").replace("_bin", ".bin") for name in files}
    contents = {names[name]: np.full(SIZE, value, np.float32).tobytes() for name, value in files.items()}
    if graph.node[0].op_type == "Constant":
        contents = {f"./{name}": value for name, value in contents.items()}
    return GraphContent(model.SerializeToString(), contents, is_nested)


@pytest.mark.parametrize(
    ("given", "when_true", "when_false"),
    [
        (content(in_the_graph(), a_bin=2), 2, 2),
        (content(in_an_attribute(), a_bin=3), 3, 3),
        (content(in_branches(), a_bin=4, in__b_bin=5, is_nested=True), 4, 5),
    ],
    ids=["graph", "attribute", "branches"],
)
def test_weights_come_from_memory_wherever_they_are_named(
    given: GraphContent, when_true: float, when_false: float, tmp_path: Path
) -> None:
    session = load_session(tmp_path / "missing", CPU, 1, content=given)
    for flag, expected in ((True, when_true), (False, when_false)):
        feeds = {"x": np.zeros(SIZE, np.float32), "flag": np.array(flag)}
        needed = {node.name: feeds[node.name] for node in session.get_inputs()}
        assert session.run(None, needed)[0].tolist() == [expected] * SIZE


def test_a_copy_is_deleted_once_the_graph_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = content(in_branches(), a_bin=4, in__b_bin=5, is_nested=True)
    load_session(tmp_path / "missing", CPU, 1, content=given)
    assert os.listdir(tmp_path) == []


def test_a_copy_that_cannot_be_written_is_a_fault_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    given = content(in_branches(), a_bin=4, in__b_bin=5, is_nested=True)
    with pytest.raises(StartupError, match="cannot be copied"):
        load_session(tmp_path / "missing", CPU, 1, content=given)
