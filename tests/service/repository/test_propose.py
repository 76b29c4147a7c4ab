"""A manifest is proposed from the names and shapes of a graph, with an example that the graph answered."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import StartupError
from service.manifest import Manifest
from service.repository.propose import propose, with_example
from tests.service import graphs

# A graph shows neither that its sequences must not be cut, nor that its only axis is time.
FOREIGN = [kind for kind in graphs.SUMMING if kind not in (graphs.WHOLE, graphs.NO_BATCH_AXIS)]


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.name)
def test_the_proposal_agrees_with_the_manifest_written_by_hand(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    proposed, written = propose(folder / "model.onnx"), Manifest.read(folder)
    assert proposed.axes == written.axes
    assert proposed.states == written.states
    assert [spec.dims for spec in proposed.inputs] == [spec.dims for spec in written.inputs]
    assert proposed.outputs[0].steps == written.outputs[0].steps


def test_an_lstm_is_recognized_with_its_row_lengths(tmp_path: Path) -> None:
    path, written = graphs.write_lstm(tmp_path)
    proposed = propose(path)
    assert proposed.lengths == "lengths"
    assert proposed.states == written.states
    assert proposed.example is None


def test_token_ids_and_constants_are_recognized(tmp_path: Path) -> None:
    onnx.save(graphs.tokens(5), tmp_path / "tokens.onnx")
    (spec,) = propose(tmp_path / "tokens.onnx").inputs
    assert (spec.kind, spec.dtype, spec.dims) == ("token", "int64", ())
    onnx.save(graphs.one_step(), tmp_path / "step.onnx")
    assert propose(tmp_path / "step.onnx").constants == {"scale": 0}


def test_the_example_is_the_graphs_own_answer(tmp_path: Path) -> None:
    onnx.save(graphs.two_inputs(), tmp_path / "two.onnx")
    example = with_example(tmp_path / "two.onnx", propose(tmp_path / "two.onnx"), steps=3).example
    assert example is not None and isinstance(example.steps, dict)
    assert set(example.steps) == {"a", "b"} and len(example.steps["a"]) == 3
    added = [sum(step[column] for rows in example.steps.values() for step in rows) for column in (0, 1)]
    assert example.output == pytest.approx(added)


def test_the_example_of_a_graph_that_keeps_one_step_is_that_step(tmp_path: Path) -> None:
    onnx.save(graphs.LAST_ONLY.graph(), tmp_path / "last.onnx")
    example = with_example(tmp_path / "last.onnx", propose(tmp_path / "last.onnx")).example
    assert example is not None and len(example.output) == graphs.WIDTH


def identity(shape: graphs.Shape) -> onnx.ModelProto:
    return graphs.model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, shape)},
        {"y": (TensorProto.FLOAT, shape)},
        {},
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "no input or no output except the states"),
        (["N", "T", 2, 2], "say which axis is time"),
        (["N", "T", "D"], "a width must be fixed"),
    ],
)
def test_a_graph_that_cannot_be_guessed_is_refused_with_the_reason(
    shape: graphs.Shape, message: str, tmp_path: Path
) -> None:
    onnx.save(identity(shape), tmp_path / "x.onnx")
    with pytest.raises(StartupError, match=message):
        propose(tmp_path / "x.onnx")
