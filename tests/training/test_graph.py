"""The graph builder: every part is declared once, and a finished graph is checked."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from training.graph import IR_VERSION, OPSET, Graph


def run(graph: Graph, **inputs: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(graph.build().SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, inputs)
    return outputs


def test_nodes_and_weights_compute_what_they_declare() -> None:
    graph = Graph("affine")
    x = graph.input("x", ["batch", 2])
    product = graph.add("Mul", [x, graph.weight("scale", np.array([2, 3], np.float32))], ["product"])
    graph.output(graph.add("Add", [product, product], ["y"]), ["batch", 2])
    [y] = run(graph, x=np.array([[1, 1], [5, 10]], np.float32))
    assert y.tolist() == [[4, 6], [20, 60]]


def test_a_dynamic_axis_has_a_name_and_a_fixed_one_a_size() -> None:
    graph = Graph("shapes")
    graph.output(graph.add("Identity", [graph.input("x", ["batch", 4])], ["y"]), ["batch", 4])
    [value] = graph.build().graph.input
    assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == ["batch", 4]


def test_an_equal_weight_is_stored_once_and_another_of_that_name_is_refused() -> None:
    graph = Graph("weights")
    assert graph.weight("w", np.ones(3, np.float32)) == graph.weight("w", np.ones(3, np.float32)) == "w"
    assert len(graph.proto().initializer) == 1
    with pytest.raises(AssertionError, match="two weights are called 'w'"):
        graph.weight("w", np.zeros(3, np.float32))


def test_a_split_gives_the_parts_of_the_last_axis() -> None:
    graph = Graph("split")
    names = graph.split(graph.input("x", ["batch", 5]), ["a", "b"], [2, 3])
    assert names == ["a", "b"]
    for name, size in zip(names, (2, 3), strict=True):
        graph.output(name, ["batch", size])
    first, second = run(graph, x=np.arange(5, dtype=np.float32)[None])
    assert (first.tolist(), second.tolist()) == ([[0, 1]], [[2, 3, 4]])


def test_has_knows_the_tensors_that_a_node_computes() -> None:
    graph = Graph("has")
    x = graph.input("x", ["batch"])
    assert not graph.has("y")
    graph.add("Identity", [x], ["y"])
    assert graph.has("y")
    assert not graph.has("x"), "an input is not computed"


def test_an_absent_input_of_a_node_has_an_empty_name() -> None:
    graph = Graph("clip")
    highest = graph.weight("highest", np.array(2, np.float32))
    graph.output(graph.add("Clip", [graph.input("x", ["batch"]), "", highest], ["y"]), ["batch"])
    [y] = run(graph, x=np.array([-5, 5], np.float32))
    assert y.tolist() == [-5, 2]


def test_other_types_are_declared() -> None:
    graph = Graph("types")
    x = graph.input("x", ["batch"], kind=TensorProto.INT64)
    graph.output(graph.add("Cast", [x], ["y"], to=TensorProto.INT32), ["batch"], kind=TensorProto.INT32)
    [y] = run(graph, x=np.array([7]))
    assert y.dtype == np.dtype(np.int32)
    assert y.tolist() == [7]


def test_a_finished_graph_is_for_old_runtimes() -> None:
    graph = Graph("old")
    graph.output(graph.add("Identity", [graph.input("x", ["batch"])], ["y"]), ["batch"])
    model = graph.build()
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET) == (8, 17)
    assert model.producer_name == "cellgate"


def test_an_impossible_graph_is_refused() -> None:
    undefined = Graph("undefined")
    undefined.output(undefined.add("Identity", ["nowhere"], ["y"]), ["batch"])
    with pytest.raises(onnx.checker.ValidationError):
        undefined.build()
    wrong = Graph("wrong")
    two, three = (wrong.weight(f"w{size}", np.ones((size, size), np.float32)) for size in (2, 3))
    wrong.output(wrong.add("MatMul", [two, three], ["y"]), [2, 3])
    with pytest.raises(onnx.shape_inference.InferenceError):
        wrong.build()
