"""Export: the graph equals the network, has no superfluous node, and appears whole or not at all."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from training.data.dataset import DataSet, Split
from training.export import ParityError, export, random_network
from training.export.example import example
from training.export.network import write_graph
from training.export.parity import check
from training.model import Network
from training.run import Run

INPUT = ["Transpose", "Sub", "Mul"]
LSTM_HEAD = ["MatMul", "Add", "Transpose", "Softmax"]


def made_up(layers: int = 1, hidden: int = 16) -> tuple[Network, DataSet]:
    return random_network(cell="lstm", features=3, hidden=hidden, layers=layers, classes=4, seed=0)


def export_to(folder: Path, network: Network, data: DataSet, *, force: bool = False) -> Manifest:
    return export(network, data, folder, metrics={"test_accuracy": 0.5}, command="c", seed=3, force=force)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_graph_agrees_with_torch(layers: int) -> None:
    network, data = made_up(layers, hidden=40)
    network.learn_normalisation(tuple(5 * sequence - 2 for sequence in data.train.sequences))
    differences = check(write_graph(network).SerializeToString(), network, data.test).differences
    assert set(differences) == {"logits", "h_out", "c_out"}
    assert 0 < max(differences.values()) <= 1e-5


def test_one_layer_is_nine_nodes() -> None:
    network, _ = made_up()
    graph = write_graph(network).graph
    assert [node.op_type for node in graph.node] == [*INPUT, "LSTM", "Squeeze", *LSTM_HEAD]


def test_a_stack_only_adds_the_split_and_the_join_of_its_state() -> None:
    network, _ = made_up(layers=2)
    graph = write_graph(network).graph
    layers = ["LSTM", "Squeeze"] * 2
    assert [node.op_type for node in graph.node] == [
        *INPUT, "Split", "Split", *layers, "Concat", "Concat", *LSTM_HEAD,
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2])
def test_nothing_in_a_graph_is_dead(layers: int) -> None:
    network, _ = made_up(layers)
    graph = write_graph(network).graph
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    computed = {name for node in graph.node for name in node.output}
    assert (
        computed | {weight.name for weight in graph.initializer} | {input_.name for input_ in graph.input}
        == used
    )


def test_a_graph_is_for_old_runtimes_and_any_batch_and_time() -> None:
    network, _ = made_up()
    model = write_graph(network)
    assert (model.ir_version, [(opset.domain, opset.version) for opset in model.opset_import]) == (
        8,
        [("", 17)],
    )
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "x": ["batch", "time", 3],
        "lengths": ["batch"],
        "h": [1, "batch", 16],
        "c": [1, "batch", 16],
        "y": ["batch", "time", 4],
        "logits": ["batch", "time", 4],
        "h_out": [1, "batch", 16],
        "c_out": [1, "batch", 16],
    }


def test_a_corrupt_weight_stops_the_export(tmp_path: Path) -> None:
    network, data = made_up()
    model = write_graph(network)
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name == "R_0"]
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0, 0] += 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "R_0"))
    with pytest.raises(ParityError, match=r"than float32 explains.*: logits by .*h_out by .*c_out by"):
        check(model.SerializeToString(), network, data.test)
    with torch.no_grad():
        next(network.cell.parameters())[0, 0] = float("nan")
    with pytest.raises(ParityError, match="logits by nan"):
        export_to(tmp_path / "1", network, data)
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_only_when_forced(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m" / "1"
    export_to(folder, *made_up())
    with pytest.raises(FileExistsError, match="--force"):
        export_to(folder, *made_up(layers=2))
    assert Manifest.read(folder).states[0].shape == (1, "batch", 16)
    export_to(folder, *made_up(layers=2), force=True)
    assert Manifest.read(folder).states[0].shape == (2, "batch", 16)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST_FILE, GRAPH_FILE]
    assert list(folder.parent.iterdir()) == [folder]


def test_the_same_export_again_changes_no_byte(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    manifest = export_to(folder, *made_up())
    assert manifest.provenance is not None
    earlier = manifest.provenance.model_copy(update={"created": "2001-01-01T00:00:00+00:00"})
    manifest.model_copy(update={"provenance": earlier}).write(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    export_to(folder, *made_up(), force=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    export(*made_up(), folder, metrics={}, command="other", seed=3, force=True)
    again = Manifest.read(folder).provenance
    assert again is not None
    assert again.created > earlier.created


def test_the_manifest_describes_a_trained_network(finished: Run, tmp_path: Path) -> None:
    fields = {"metrics": finished.test_metrics(), "command": "train", "seed": 0}
    manifest = export(finished.network, finished.data, tmp_path / "1", **fields)  # type: ignore[arg-type]
    assert manifest == Manifest.read(tmp_path / "1")
    assert (manifest.task, manifest.causal, manifest.lengths) == ("classify", True, "lengths")
    assert (manifest.inputs[0].dims, len(manifest.inputs[0].features)) == ((12,), 12)
    assert [(state.input, state.output) for state in manifest.states] == [("h", "h_out"), ("c", "c_out")]
    assert manifest.outputs[0].labels == tuple("123456789")
    assert manifest.metrics == finished.test_metrics()
    assert {"test_accuracy", "test_macro_f1", "test_loss", "test_skill_accuracy"} <= set(manifest.metrics)
    provenance = manifest.provenance
    assert provenance is not None
    assert (provenance.license, provenance.command, provenance.seed) == ("CC BY 4.0", "train", 0)
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(provenance.versions)
    assert set(provenance.parity) == {"logits", "h_out", "c_out"}
    assert max(provenance.parity.values()) <= 1e-5
    assert provenance.parity_check is not None
    assert provenance.parity_check.slack == 1
    assert set(provenance.parity_check.limits) == {*provenance.parity, "y"}


class ScriptedNetwork(Network):
    """A network whose confidence in the first class is the first number of the sequence."""

    def __init__(self) -> None:
        super().__init__(cell="lstm", features=1, hidden=1, layers=1, out=2)

    def forward(
        self,
        x: torch.Tensor,
        lengths: torch.Tensor,  # noqa: ARG002
        state: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        logits = torch.logit(x[:, :1]).expand(-1, x.shape[1], 1)  # [batch, time, 1]
        return torch.cat([logits, torch.zeros_like(logits)], dim=2), state


@pytest.mark.parametrize(
    ("sequences", "chosen"),
    [
        ([(0.999, 5), (0.995, 18), (0.999, 23), (0.9, 20)], 1),  # confident, nearest to 20 steps
        ([(0.995, 22), (0.999, 18), (0.999, 7)], 1),  # equally near: the most confident
        (
            [(0.6, 20), (0.9, 3), (0.001, 20)],
            1,
        ),  # none is both right and confident: the most confident right one
    ],
)
def test_the_example_has_medium_length_and_high_confidence(
    sequences: list[tuple[float, int]], chosen: int
) -> None:
    _, data = random_network(cell="lstm", features=1, hidden=1, layers=1, classes=2, seed=0)
    rows = tuple(np.full((steps, 1), sure, np.float32) for sure, steps in sequences)
    test = Split(rows, np.zeros(len(rows), np.int64))
    result = example(ScriptedNetwork().eval(), dataclasses.replace(data, test=test))
    assert result.steps == [[float(str(value)) for value in step] for step in rows[chosen]]
    assert result.label == data.labels[0]


def test_the_example_is_a_test_sequence_that_the_graph_classifies_correctly(
    finished: Run, tmp_path: Path
) -> None:
    manifest = export(finished.network, finished.data, tmp_path / "1", metrics={}, command="", seed=0)
    known = manifest.example
    assert known is not None
    x = np.array([known.steps], np.float32)
    [row] = [row for row, steps in enumerate(finished.data.test.sequences) if np.array_equal(steps, x[0])]
    assert finished.data.labels[finished.data.test.targets[row]] == known.label
    zeros = np.zeros((1, 1, 24), np.float32)
    feeds = {"x": x, "lengths": np.array([x.shape[1]], np.int32), "h": zeros, "c": zeros}
    [y] = ort.InferenceSession(tmp_path / "1" / GRAPH_FILE).run(["y"], feeds)
    np.testing.assert_allclose(y[0, -1], known.output, atol=known.tolerance)
    assert np.sum(known.output) == pytest.approx(1, abs=1e-5)
