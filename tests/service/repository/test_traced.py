"""A foreign graph that shows gates: served at the cost of one without, and whole where they are requested."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import orjson
import pytest
from onnx import helper

from service.engine import Batching, OnnxEngine
from service.errors import StartupError
from service.manifest import GRAPH_FILE, Manifest
from service.predict import Predictor
from service.repository import Hardware, Loader, Repository
from service.repository.graph_file import GraphFile
from service.repository.pruned import pruned
from service.repository.traced import TracedEngine
from service.sequence import Batch, Chunk, Sequence
from service.sessions import Limits, Sessions, SteadyClock
from service.sessions.store.memory import MemoryStore
from tests.service.graphs import FLOAT, GATED, WIDTH, Kind, Shape, gated, model

X: Shape = ["N", "T", WIDTH]
MANIFEST = GATED.manifest
AHEAD = Kind("ahead", lambda: gated(looks_ahead=True), MANIFEST)
HARDWARE = Hardware("cpu", 1)
BATCHING = Batching(max_batch=8, chunk_steps=4, max_waiting=99)


def names_of(content: bytes) -> tuple[set[str], set[str], list[str]]:
    """Nodes' first outputs, weights, and outputs of a graph."""
    graph = onnx.load_model_from_string(content).graph
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    return (
        {node.output[0] for node in graph.node},
        {weight.name for weight in graph.initializer},
        [output.name for output in graph.output],
    )


def test_nodes_and_weights_of_unwanted_outputs_alone_are_left_out(tmp_path: Path) -> None:
    path = GATED.write(tmp_path) / GRAPH_FILE
    nodes, weights, outputs = names_of(pruned(path.read_bytes(), GraphFile.read(path), {"gates"}))
    assert nodes == {"added", "h_out", "sums", "before", "y"}
    assert weights == {"axis"} and outputs == ["y", "h_out"]
    nodes, weights, outputs = names_of(pruned(path.read_bytes(), GraphFile.read(path), {"y", "h_out"}))
    assert nodes == {"negative", "gates"} and weights == {"minus"} and outputs == ["gates"]
    assert pruned(path.read_bytes(), GraphFile.read(path), set()) == path.read_bytes()


def test_what_a_subgraph_reads_stays(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Add", ["outer", "x"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", FLOAT, X)],
    )
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["outer"]),
        helper.make_node("Mul", ["x", "outer"], ["unwanted"]),
        helper.make_node("If", ["is_on"], ["y"], then_branch=branch, else_branch=branch),
    ]
    outputs: dict[str, tuple[int, Shape]] = {"y": (FLOAT, X), "unwanted": (FLOAT, X)}
    onnx.save(
        model(nodes, {"x": (FLOAT, X)}, outputs, {"is_on": np.array(True)}), path := tmp_path / "m.onnx"
    )
    content = pruned(path.read_bytes(), GraphFile.read(path), {"unwanted"})
    assert names_of(content)[0] == {"outer", "y"}
    x = np.ones((1, 2, WIDTH), np.float32)
    (y,) = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(["y"], {"x": x})
    np.testing.assert_array_equal(y, x + 1)


def test_gates_are_shown_to_those_who_request_them_in_one_batch_with_others(
    tmp_path: Path,
) -> None:
    folder = GATED.write(tmp_path)
    prepared = Loader(BATCHING, HARDWARE).prepare(folder)
    plain = Loader(BATCHING, HARDWARE, shows_gates=False).prepare(folder)
    assert isinstance(prepared.engine, TracedEngine) and prepared.difference == plain.difference
    assert prepared.manifest.gates == (1,)
    x = np.arange(6, dtype=np.float32).reshape(3, WIDTH)
    wants = [Sequence((x + n,), prepared.initial_state, keep_all=True) for n in range(4)]
    wants[1].extra = wants[2].extra = (1,)
    batch = Batch([Chunk(each, 0, 3) for each in wants])
    for place, result in enumerate(prepared.engine.run(batch)):
        np.testing.assert_array_equal(result.output, np.cumsum(x + place, axis=0))
        np.testing.assert_array_equal(result.state[0], (x + place).sum(axis=0))
        assert len(result.extra) == (place in (1, 2))
        for gates in result.extra:
            np.testing.assert_array_equal(gates, np.concatenate([x + place, -x - place], axis=1))


def test_a_loader_without_gates_opens_the_graph_without_them(tmp_path: Path) -> None:
    prepared = Loader(BATCHING, HARDWARE, shows_gates=False).prepare(GATED.write(tmp_path))
    assert isinstance(prepared.engine, OnnxEngine) and not prepared.manifest.gates
    assert [node.name for node in prepared.engine._session.get_outputs()] == ["y", "h_out"]


def test_gates_that_depend_on_the_cut_of_a_sequence_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="in pieces, output 'gates' differs by"):
        Loader(BATCHING, HARDWARE).prepare(AHEAD.write(tmp_path))


def test_a_session_continues_whether_or_not_a_request_wants_gates(tmp_path: Path) -> None:
    async def body() -> None:
        repository = Repository([Loader(BATCHING, HARDWARE).load(GATED.write(tmp_path))])
        sessions = Sessions(MemoryStore(Limits()), ttl_s=60, clock=SteadyClock(None))
        clock = asyncio.get_running_loop().time
        predictor = Predictor(repository, sessions, max_sequences=4, max_steps=20, timeout_s=10, clock=clock)
        rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
        total = np.zeros(WIDTH)
        for row, words in zip(
            rows, (["output"], ["output", "gates"], ["output", "state"], ["gates"]), strict=True
        ):
            sequence = {"steps": [row], "session": "s"}
            reply = await predictor.predict(
                orjson.dumps({"sequences": [sequence], "return": [*words, "last"]})
            )
            (answer,) = orjson.loads(reply.body)["predictions"]
            total += row
            if "output" in words:
                assert answer["output"] == total.tolist()
            if "gates" in words:
                assert [gate["values"] for gate in answer["gates"]] == [row, [-x for x in row]]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "values"}, "need each other"),
        ({"gates": None}, "need each other"),
        ({"gates": {"names": ["open", "open"]}}, "a gate appears twice"),
        ({"gates": {"names": ["a", "b", "c"]}}, "4 numbers are not the units of 3 gates"),
        ({"steps": "last"}, "gates are of every step"),
        ({"gates": {"names": []}}, "at least 1 item"),
        ({"gates": {"names": ["open"], "direction": "up"}}, "forward"),
    ],
)
def test_a_manifest_says_which_gates_an_output_shows(changes: dict[str, Any], reason: str) -> None:
    y, gates = MANIFEST["outputs"]
    with pytest.raises(ValueError, match=reason):
        Manifest.model_validate(MANIFEST | {"task": "label", "outputs": [y, gates | changes]})


def test_gates_come_last_and_once() -> None:
    y, gates = MANIFEST["outputs"]
    orders = {
        "must follow all others": [y, gates, y | {"name": "z"}],
        "an output is needed": [gates],
        "the same gate of a layer": [y, gates, gates | {"name": "again"}],
    }
    for reason, outputs in orders.items():
        with pytest.raises(ValueError, match=reason):
            Manifest.model_validate(MANIFEST | {"task": "label", "outputs": outputs})
