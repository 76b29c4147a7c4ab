"""What is proposed for graphs of every kind: axes, sizes, inputs and outputs, as they are measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.manifest import Manifest
from service.repository import Options, propose
from tests.service import graphs
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import HIDDEN, HN, H, N, X, Y, pairs, proposed

OPTIONS = {"one-step": Options(constants={"scale": 1})}


@pytest.mark.parametrize("kind", graphs.SUMMING, ids=lambda kind: kind.name)
def test_the_proposal_agrees_with_the_manifest_written_by_hand(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    draft, written = propose(folder / "model.onnx", OPTIONS.get(kind.name)).manifest, Manifest.read(folder)
    assert draft is not None
    assert (draft.axes, draft.states, draft.causal) == (written.axes, written.states, written.causal)
    assert [spec.dims for spec in draft.inputs] == [spec.dims for spec in written.inputs]
    assert draft.outputs[0].steps == written.outputs[0].steps


def test_a_native_export_is_recognized_with_its_row_lengths(tmp_path: Path) -> None:
    path, written = graphs.write_lstm(tmp_path)
    draft = proposed(path)
    assert (draft.lengths, draft.states) == ("lengths", written.states)


def test_the_sizes_that_a_file_states_for_its_outputs_are_not_believed(tmp_path: Path) -> None:
    # The exporter of PyTorch 2.9 writes the time steps of its example into the output's shape.
    wrong = [fg.port(Y, shape=["batch", 9, HIDDEN]), HN]
    draft = proposed(fg.save(tmp_path, fg.gru(), [X, H], wrong))
    assert (draft.axes.time, draft.axes.time_size, draft.outputs[0].dims) == (1, None, (HIDDEN,))
    assert draft.outputs[0].steps == "all"


def test_a_state_of_an_operator_is_found_behind_slices_and_stacks(tmp_path: Path) -> None:
    state: fg.Port = ("anything", fg.F32, [2, "batch", HIDDEN])
    nodes = [
        N("Split", ["anything"], ["h0", "c0"], axis=0),
        *fg.lstm(("h0", "c0")),
        N("Concat", ["hn", "cn"], ["whatever"], axis=0),
    ]
    path = fg.save(tmp_path, nodes, [X, state], [Y, fg.port(state, "whatever")])
    assert pairs(proposed(path)) == {"anything": "whatever"}


@pytest.mark.parametrize(
    ("batch", "time", "axes"),
    [
        (4, "time", {"batch": 0, "time": 1, "batch_size": 4, "time_size": None}),
        (1, 20, {"batch": 0, "time": 1, "batch_size": 1, "time_size": 20}),
        (1, 1, {"batch": 0, "time": 1, "batch_size": 1, "time_size": 1}),
        (None, None, {"batch": 0, "time": 1, "batch_size": None, "time_size": None}),
    ],
)
def test_fixed_and_unnamed_sizes_are_measured(
    batch: Any, time: Any, axes: dict[str, Any], tmp_path: Path
) -> None:
    inputs = [fg.port(X, shape=[batch, time, fg.FEATURES]), fg.port(H, shape=[1, batch, HIDDEN])]
    outputs = [fg.port(Y, shape=[batch, time, HIDDEN]), fg.port(HN, shape=[1, batch, HIDDEN])]
    draft = proposed(fg.save(tmp_path, fg.gru(), inputs, outputs))
    assert draft.axes.model_dump() == axes
    assert draft.states[0].shape == (1, 1 if batch == 1 else "batch", HIDDEN)


def test_a_graph_that_takes_exactly_some_steps_is_proposed_as_a_window(tmp_path: Path) -> None:
    nodes = [N("ReduceMax", ["days"], ["spread"], axes=[1], keepdims=0)]
    inputs: list[fg.Port] = [("days", fg.F32, ["rows", 7, 2])]
    draft = proposed(fg.save(tmp_path, nodes, inputs, [("spread", fg.F32, ["rows", 2])]))
    assert (draft.exact_steps, draft.outputs[0].steps) == (7, "last")
    assert draft.example is not None and len(draft.example.steps) == 7


def test_an_unbatched_graph_has_only_a_time_axis(tmp_path: Path) -> None:
    nodes = [
        N("Unsqueeze", ["x", "one"], ["x3"]),
        N("GRU", ["x3", "W", "R", "B"], ["Y0"], hidden_size=HIDDEN),
    ]
    nodes.append(N("Squeeze", ["Y0", "axes"], ["y"]))
    path = fg.save(
        tmp_path,
        nodes,
        [fg.port(X, shape=["n", fg.FEATURES])],
        [fg.port(Y, shape=["n", HIDDEN])],
        axes=[1, 2],
    )
    assert (proposed(path).axes.batch, proposed(path).axes.time) == (None, 0)


def test_numbers_alone_are_steps_and_answers_too(tmp_path: Path) -> None:
    nodes = [*fg.gru(y="yy"), N("ReduceMean", ["yy"], ["y"], axes=[2], keepdims=0)]
    draft = proposed(fg.save(tmp_path, nodes, [X, H], [fg.port(Y, shape=["batch", "time"]), HN]))
    assert (draft.outputs[0].dims, draft.outputs[0].steps) == ((), "all")


def test_an_argmax_is_an_integer_answer(tmp_path: Path) -> None:
    nodes = [*fg.gru(y="yy"), N("ArgMax", ["yy"], ["y"], axis=2, keepdims=0)]
    draft = proposed(fg.save(tmp_path, nodes, [X, H], [("y", fg.I64, ["batch", "time"]), HN]))
    assert (draft.outputs[0].dtype, draft.outputs[0].dims) == ("int64", ())


def test_a_softmax_is_recognized_as_probabilities(tmp_path: Path) -> None:
    nodes = [*fg.gru(y="yy"), N("MatMul", ["yy", "v"], ["z"]), N("Softmax", ["z"], ["y"], axis=2)]
    path = fg.save(tmp_path, nodes, [X, H], [fg.port(Y, shape=["batch", "time", fg.CLASSES]), HN])
    assert proposed(path).outputs[0].kind == "probabilities"
    assert proposed(path, labels=("a", "b", "c"), task="classify").outputs[0].labels == ("a", "b", "c")


def test_the_bound_of_token_ids_is_read_off_the_table(tmp_path: Path) -> None:
    nodes = [N("Gather", ["E", "ids"], ["x3"]), *fg.gru("x3")]
    draft = proposed(fg.save(tmp_path, nodes, [("ids", fg.I64, ["batch", "time"]), H], [Y, HN]))
    assert (draft.inputs[0].kind, draft.inputs[0].size, draft.inputs[0].dims) == ("token", fg.TOKENS, ())


def test_inputs_beside_the_sequence_keep_their_place(tmp_path: Path) -> None:
    nodes = [
        N("MatMul", ["spk", "m"], ["e"]),
        N("Unsqueeze", ["e", "one"], ["e3"]),
        N("Add", ["x", "e3"], ["x2"]),
        N("Cast", ["valid"], ["vf"], to=1),
        N("Unsqueeze", ["vf", "two"], ["v3"]),
        N("Mul", ["x2", "v3"], ["x3"]),
        *fg.gru("x3"),
    ]
    m = np.ones((6, fg.FEATURES), np.float32)
    inputs: list[fg.Port] = [X, ("spk", fg.F32, ["batch", 6]), ("valid", fg.BOOL, ["batch", "time"]), H]
    draft = proposed(fg.save(tmp_path, nodes, inputs, [Y, HN], m=m))
    found = [(spec.name, spec.per, spec.dims, spec.dtype) for spec in draft.inputs]
    assert found == [
        ("x", "step", (fg.FEATURES,), "float32"),
        ("spk", "sequence", (6,), "float32"),
        ("valid", "step", (), "bool"),
    ]


def test_given_axes_are_taken(tmp_path: Path) -> None:
    shape: graphs.Shape = ["a", "b", fg.FEATURES]
    path = fg.save(
        tmp_path, [N("Identity", ["x"], ["y"])], [fg.port(X, shape=shape)], [fg.port(X, "y", shape)]
    )
    assert proposed(path, time_axis=0).axes.batch == 1
    assert proposed(path, time_axis=0, batch_axis=-1, dims={"x": (2, 4)}).axes.batch is None


def test_rows_that_change_one_another_are_never_batched(tmp_path: Path) -> None:
    nodes = [
        N("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        N("Sub", ["x", "mean"], ["x3"]),
        *fg.gru("x3"),
    ]
    draft = propose(fg.save(tmp_path, nodes, [X, H], [Y, HN]))
    assert draft.manifest is not None and draft.manifest.axes.batch_size == 1
    assert any("one sequence" in note for note in draft.notes)


def test_a_symbol_for_the_number_of_layers_is_measured(tmp_path: Path) -> None:
    h, hn = fg.port(H, shape=["layers", "batch", HIDDEN]), fg.port(HN, shape=["layers", "batch", HIDDEN])
    assert proposed(fg.save(tmp_path, fg.gru(), [X, h], [Y, hn])).states[0].shape == (1, "batch", HIDDEN)
