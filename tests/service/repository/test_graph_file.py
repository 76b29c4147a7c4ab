"""An ONNX file is read as the onnx package reads it; a damaged one is refused, whatever its bytes."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.errors import StartupError
from service.repository.graph_file import GraphFile
from tests.service import graphs

BRANCHES = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])


def constant(values: object, name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def external(location: str, name: str = "w", **entries: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def branch(name: str, tensor: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", [tensor.name], ["y"])], name, [], [BRANCHES], [tensor]
    )


def write(path: Path, *nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", None, 3])
    graph = helper.make_graph(list(nodes), "g", [x], [BRANCHES], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="by hand")
    helper.set_model_props(model, {"sample_rate": "16000"})
    path.write_bytes(model.SerializeToString())
    return path


def nodes_of(graph: onnx.GraphProto) -> list[tuple[object, ...]]:
    return [(n.op_type, n.domain, n.name, tuple(n.input), tuple(n.output)) for n in graph.node]


def backend_graphs() -> list[Path]:
    """The onnx package's own test graphs, a hundred of its thousands."""
    found = sorted(Path(onnx.__file__).parent.glob("backend/test/data/**/*.onnx"))
    return random.Random(0).sample(found, min(100, len(found)))


def test_it_reads_what_the_onnx_package_reads(tmp_path: Path) -> None:
    own = [each.write(tmp_path) / "model.onnx" for each in (graphs.UNIFORM, graphs.STACKED)]
    for path in [*own, *backend_graphs()]:
        expected, read = onnx.load(path, load_external_data=False), GraphFile.read(path)
        assert nodes_of(expected.graph) == [
            (n.op_type, n.domain, n.name, n.inputs, n.outputs) for n in read.nodes
        ], path
        weights = {each.name: tuple(each.dims) for each in expected.graph.initializer}
        assert {name: each.dims for name, each in read.initializers.items()} == weights | {
            each.values.name: tuple(each.values.dims) for each in expected.graph.sparse_initializer
        }
        inputs = [each for each in expected.graph.input if each.name not in read.initializers]
        assert [each.name for each in inputs] == [each.name for each in read.inputs]
        for value, info in zip(read.inputs, inputs, strict=True):
            if info.type.tensor_type.HasField("shape"):
                sizes = [
                    dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                    for dim in info.type.tensor_type.shape.dim
                ]
                assert value.shape == tuple(sizes)
        for node, found in zip(expected.graph.node, read.nodes, strict=True):
            simple = [a for a in node.attribute if a.type in (a.INT, a.INTS) and not a.ref_attr_name]
            for each in simple:
                value_of = helper.get_attribute_value(each)
                assert found.attributes[each.name] == (value_of if each.type == each.INT else tuple(value_of))


def test_names_shapes_and_metadata(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", ""], ["y"], alpha=0.5, transB=0, mode="fast", axes=[-1, 2])
    path = write(tmp_path / "a.onnx", node, weights=(constant([[1.0, 2.0]]), constant([1, -2], "axes")))
    read = GraphFile.read(path)
    assert (read.inputs[0].name, read.inputs[0].dtype, read.inputs[0].shape) == (
        "x",
        "float32",
        ("batch", None, 3),
    )
    assert read.outputs[0].shape == ("batch", 2)
    assert (read.initializers["w"].dtype, read.initializers["w"].dims) == ("float64", (1, 2))
    assert read.initializers["axes"].integers == (1, -2) and read.initializers["w"].integers is None
    assert read.nodes[0].attributes == {"alpha": 0.5, "transB": 0, "mode": "fast", "axes": (-1, 2)}
    assert read.nodes[0].inputs == ("x", "w", "")
    assert (read.opset, read.metadata, read.producer) == ({"": 17}, {"sample_rate": "16000"}, "by hand")


def test_weights_are_skipped_however_large(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", weights=(constant(np.zeros((1000, 1000), np.float32)),))
    assert GraphFile.read(path).initializers["w"].dims == (1000, 1000)


def test_external_files_are_found_wherever_a_tensor_may_be(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Constant", [], ["c"], value=external("in/attribute.bin")),
        helper.make_node(
            "If",
            ["flag"],
            ["y"],
            then_branch=branch("then", external("then.bin", offset="4096")),
            else_branch=branch("else", external("weights.bin")),
        ),
    )
    read = GraphFile.read(write(tmp_path / "a.onnx", *nodes, weights=(external("weights.bin", length="16"),)))
    assert read.external_files == ("in/attribute.bin", "then.bin", "weights.bin") and read.has_nested_files
    flat = GraphFile.read(write(tmp_path / "b.onnx", nodes[0], weights=(external("weights.bin"),)))
    assert flat.external_files == ("in/attribute.bin", "weights.bin") and not flat.has_nested_files
    assert read.initializers["w"].location == "weights.bin"
    assert set(read.nodes[1].subgraphs) == {"then_branch", "else_branch"}
    assert read.nodes[1].subgraphs["then_branch"].initializers["w"].location == "then.bin"


def test_external_files_of_functions_and_sparse_weights_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx")
    model = onnx.load(path)
    sparse = onnx.SparseTensorProto(values=external("values.bin"), indices=external("indices.bin"), dims=[9])
    model.graph.sparse_initializer.append(sparse)
    node = helper.make_node("Constant", [], ["y"], value=external("function.bin"))
    model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], model.opset_import))
    path.write_bytes(model.SerializeToString())
    read = GraphFile.read(path)
    assert read.external_files == ("function.bin", "indices.bin", "values.bin") and read.has_nested_files
    assert read.functions["own", "f"].nodes[0].op_type == "Constant"


@pytest.mark.parametrize(
    "location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "link/w.bin", "loop/w", "", "."]
)
def test_an_external_file_outside_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    with pytest.raises(StartupError, match=r"a\.onnx: not a valid ONNX file: "):
        GraphFile.read(write(folder / "a.onnx", weights=(external(location),)))


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap or a volume: files are links into a folder that is switched."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "w.bin").symlink_to("..data/w.bin")
    assert GraphFile.read(write(tmp_path / "a.onnx", weights=(external("w.bin"),))).external_files == (
        "w.bin",
    )


def test_graphs_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    graph = branch("leaf", constant([1.0, 2.0]))
    for _ in range(25):
        node = helper.make_node("If", ["f"], ["y"], then_branch=graph)
        graph = helper.make_graph([node], "g", [], [BRANCHES])
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx.ModelProto(graph=graph).SerializeToString())
    with pytest.raises(StartupError, match="nested deeper"):
        GraphFile.read(path)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    for content in (b"", b"no graph", b"\xff" * 99, b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(content)
        with pytest.raises(StartupError, match="not a valid ONNX file"):
            GraphFile.read(path)
    with pytest.raises(StartupError, match="No such file"):
        GraphFile.read(tmp_path / "missing")
    with pytest.raises(StartupError, match="not a regular file"):
        GraphFile.read(tmp_path)


def test_a_file_of_more_fields_than_a_graph_has_is_refused(tmp_path: Path) -> None:
    """It takes seconds to read, not hours."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x50\x00" * 1_000_001)
    with pytest.raises(StartupError, match="more than 1000000 fields"):
        GraphFile.read(path)


def test_every_prefix_of_a_file_is_read_or_refused(tmp_path: Path) -> None:
    """A copy under way: the file grows."""
    whole = (graphs.UNIFORM.write(tmp_path) / "model.onnx").read_bytes()
    path = tmp_path / "a.onnx"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        read_or_refuse(path)


SEED_GRAPH = (
    helper.make_node("Constant", [], ["c"], value=external("c.bin")),
    helper.make_node("If", ["flag"], ["y"], then_branch=branch("then", constant([1, 2]))),
    helper.make_node("Scan", ["x"], ["y"], axes=[1, 2], scale=[0.5, 1.0], text=["a", "b"]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=5
    ),
    inserts=st.booleans(),
)
def test_damaged_bytes_are_read_or_refused(
    changes: list[tuple[int, bytes]], inserts: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.onnx", *SEED_GRAPH, weights=(external("w.bin"), constant([1, 2], "axes")))
    content = bytearray(path.read_bytes())
    for position, replacement in changes:
        at = position % len(content)
        content[at : at if inserts else at + len(replacement)] = replacement
    path.write_bytes(content)
    read_or_refuse(path)


def read_or_refuse(path: Path) -> None:
    """Nothing but a graph or a StartupError, whatever the bytes; no file outside the folder."""
    try:
        files = GraphFile.read(path).external_files
    except StartupError:
        return
    assert all((path.parent / name).resolve().is_relative_to(path.parent.resolve()) for name in files)
