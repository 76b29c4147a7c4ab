"""What is proposed for graphs of every kind: measured axes, states and outputs; what is open is explained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.errors import StartupError
from service.manifest import MANIFEST_FILE, Manifest
from service.repository import Options, propose, read_manifest, recompute_example
from service.repository.propose import Draft, needs_example
from tests.service import graphs
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import HIDDEN, HN, H, N, X, Y

CELL: fg.Port = ("h", fg.F32, ["batch", HIDDEN])
ROW: fg.Port = ("x", fg.F32, ["batch", fg.FEATURES])
OPTIONS = {"one-step": Options(constants={"scale": 1})}


def proposed(path: Path, **options: Any) -> Manifest:
    """The manifest of a draft that must be complete."""
    draft = propose(path, Options(**options))
    assert draft.manifest is not None, draft.open
    return draft.manifest


def opened(path: Path, **options: Any) -> Draft:
    draft = propose(path, Options(**options))
    assert draft.manifest is None
    return draft


def pairs(manifest: Manifest) -> dict[str, str]:
    return {state.input: state.output for state in manifest.states}


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


def test_states_are_paired_by_the_operators_whatever_their_names(tmp_path: Path) -> None:
    states = [fg.port(H, "a"), fg.port(H, "b")]
    outputs = [fg.port(H, "b.1"), fg.port(H, "a.1"), Y]
    path = fg.save(tmp_path, fg.lstm(("b", "a"), ("a.1", "b.1")), [X, *states], outputs)
    assert pairs(proposed(path)) == {"a": "b.1", "b": "a.1"}


def test_a_state_of_an_operator_is_found_behind_slices_and_stacks(tmp_path: Path) -> None:
    state: fg.Port = ("anything", fg.F32, [2, "batch", HIDDEN])
    nodes = [
        N("Split", ["anything"], ["h0", "c0"], axis=0),
        *fg.lstm(("h0", "c0")),
        N("Concat", ["hn", "cn"], ["whatever"], axis=0),
    ]
    path = fg.save(tmp_path, nodes, [X, state], [Y, fg.port(state, "whatever")])
    assert pairs(proposed(path)) == {"anything": "whatever"}


def test_states_of_plain_arithmetic_are_paired_by_name(tmp_path: Path) -> None:
    nodes = [
        N("ReduceSum", ["x", "one"], ["more"], keepdims=0),
        N("Add", ["cell_a.in", "more"], ["cell_a.out"]),
        N("Sub", ["cell_b.in", "more"], ["cell_b.out"]),
        N("Add", ["cell_a.out", "cell_b.out"], ["y"]),
    ]
    size: graphs.Shape = ["batch", fg.FEATURES]
    inputs = [X, *((f"cell_{name}.in", fg.F32, size) for name in "ba")]
    outputs: list[fg.Port] = [(name, fg.F32, size) for name in ("y", "cell_a.out", "cell_b.out")]
    draft = proposed(fg.save(tmp_path, nodes, inputs, outputs))
    assert pairs(draft) == {"cell_a.in": "cell_a.out", "cell_b.in": "cell_b.out"}


def test_a_cut_decides_between_pairs_that_neither_operators_nor_names_settle(tmp_path: Path) -> None:
    size: graphs.Shape = ["batch", fg.FEATURES]
    nodes = [
        N("ReduceSum", ["x", "one"], ["more"], keepdims=0),
        N("Add", ["p", "more"], ["u"]),  # the running sum
        N("Mul", ["q", "half"], ["faded"]),
        N("Add", ["faded", "p"], ["added"]),
        N("Add", ["added", "more"], ["v"]),
        N("CumSum", ["x", "axis"], ["sums"]),
        N("Unsqueeze", ["p", "one"], ["before"]),
        N("Add", ["sums", "before"], ["y"]),
    ]
    ports: list[fg.Port] = [(name, fg.F32, size) for name in "pq"]
    after: list[fg.Port] = [(name, fg.F32, size) for name in "vu"]
    path = fg.save(
        tmp_path, nodes, [X, *ports], [fg.port(X, "y"), *after], axis=np.array(1), half=np.float32(1)
    )
    draft = propose(path)
    assert draft.document["states"][0]["output"] in ("u", "?")


def test_the_answer_may_be_the_new_state(tmp_path: Path) -> None:
    draft = proposed(fg.save(tmp_path, fg.cell("h_next"), [ROW, CELL], [fg.port(CELL, "h_next")]))
    assert pairs(draft) == {"h": "h_next"}
    assert (draft.outputs[0].name, draft.outputs[0].dims, draft.axes.time) == ("h_next", (HIDDEN,), None)


def test_of_two_outputs_of_a_states_shape_the_name_decides(tmp_path: Path) -> None:
    nodes = [*fg.cell(), N("Relu", ["new"], ["out"])]
    draft = proposed(fg.save(tmp_path, nodes, [ROW, CELL], [fg.port(CELL, "out"), fg.port(CELL, "new")]))
    assert (pairs(draft), draft.outputs[0].name) == ({"h": "new"}, "out")


def test_a_state_that_nothing_settles_is_open_until_it_is_given(tmp_path: Path) -> None:
    nodes = [*fg.cell("left"), N("Relu", ["left"], ["right"])]
    outputs = [fg.port(CELL, "left"), fg.port(CELL, "right")]
    path = fg.save(tmp_path, nodes, [ROW, CELL], outputs)
    draft = opened(path)
    assert draft.document["states"] == [
        {"input": "h", "output": "?", "shape": ["batch", HIDDEN], "dtype": "float32"}
    ]
    assert any("--state h=OUTPUT" in line for line in draft.open)
    assert any("left, right" in line for line in draft.open)
    assert pairs(proposed(path, states={"h": "left"})) == {"h": "left"}


REVERSE = fg.gru(direction="reverse")
POOLED = [*fg.gru(y="yy"), N("ReduceMean", ["yy"], ["y"], axes=[1], keepdims=0)]
CENTRED = [
    *fg.gru(y="yy"),
    N("ReduceMean", ["yy"], ["mean"], axes=[1], keepdims=1),
    N("Sub", ["yy", "mean"], ["y"]),
]


@pytest.mark.parametrize(
    ("nodes", "output"),
    [(REVERSE, Y), (POOLED, fg.port(Y, shape=["batch", HIDDEN])), (CENTRED, Y)],
    ids=["reverse", "pooling", "a mean over time"],
)
def test_a_graph_that_looks_ahead_is_not_causal(
    nodes: list[onnx.NodeProto], output: fg.Port, tmp_path: Path
) -> None:
    draft = propose(fg.save(tmp_path, nodes, [X, H], [output, HN]))
    assert draft.manifest is not None and not draft.manifest.causal
    assert any("causal" in note for note in draft.notes)


def test_a_graph_that_keeps_the_last_step_may_be_cut(tmp_path: Path) -> None:
    nodes = [*fg.gru(y="yy"), N("Squeeze", ["hn", "zero"], ["y"])]
    draft = proposed(fg.save(tmp_path, nodes, [X, H], [fg.port(Y, shape=["batch", HIDDEN]), HN]))
    assert (draft.causal, draft.outputs[0].steps, draft.task) == (True, "last", "forecast")


def test_a_cache_of_a_convolution_is_a_state(tmp_path: Path) -> None:
    nodes = [
        N("Transpose", ["x"], ["x_t"], perm=[0, 2, 1]),
        N("Concat", ["left", "x_t"], ["padded"], axis=2),
        N("Conv", ["padded", "K"], ["y_t"]),
        N("Slice", ["padded", "start", "end", "two"], ["kept"]),
        N("Transpose", ["y_t"], ["y"], perm=[0, 2, 1]),
    ]
    cache: fg.Port = ("left", fg.F32, ["batch", fg.FEATURES, 2])
    kernel = np.random.default_rng(0).normal(size=(HIDDEN, fg.FEATURES, 3)).astype(np.float32)
    path = fg.save(
        tmp_path, nodes, [X, cache], [Y, fg.port(cache, "kept")], K=kernel, start=[-2], end=[2**40]
    )
    draft = proposed(path)
    assert pairs(draft) == {"left": "kept"}
    assert draft.states[0].shape == ("batch", fg.FEATURES, 2)


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


RATE: fg.Port = ("sr", fg.I64, [])
RATED = [N("Cast", ["sr"], ["sf"], to=1), N("Div", ["sf", "k"], ["g"]), N("Mul", ["x", "g"], ["x3"])]


def test_a_constant_is_open_and_never_zero(tmp_path: Path) -> None:
    path = fg.save(tmp_path, [*RATED, *fg.gru("x3")], [X, RATE, H], [Y, HN], k=np.float32(16000))
    draft = opened(path)
    assert draft.document["constants"] == {"sr": "?"}
    assert any("--constant sr=VALUE" in line for line in draft.open)
    assert proposed(path, constants={"sr": 16000}).constants == {"sr": 16000}


def test_what_an_exporter_wrote_into_the_file_settles_a_constant(tmp_path: Path) -> None:
    said = {"sample_rate": "16000"}
    path = fg.save(tmp_path, [*RATED, *fg.gru("x3")], [X, RATE, H], [Y, HN], said, k=np.float32(16000))
    assert proposed(path).constants == {"sr": 16000}


def samples(tmp_path: Path) -> Path:
    """A detector: exactly 12 samples a call, of which 4 are context."""
    nodes = [
        N("MatMul", ["input", "k"], ["a"]),
        N("Add", ["a", "state"], ["stateN"]),
        N("ReduceMean", ["stateN"], ["output"], axes=[1], keepdims=1),
    ]
    k = np.ones((12, HIDDEN), np.float32)
    inputs: list[fg.Port] = [("input", fg.F32, [None, None]), ("state", fg.F32, [None, HIDDEN])]  # type: ignore[list-item]
    outputs: list[fg.Port] = [("output", fg.F32, [None, 1]), ("stateN", fg.F32, [None, HIDDEN])]  # type: ignore[list-item]
    return fg.save(tmp_path, nodes, inputs, outputs, k=k)


def test_a_window_of_samples_is_one_step_and_its_context_is_carried(tmp_path: Path) -> None:
    path = samples(tmp_path)
    assert proposed(path).inputs[0].dims == (12,)
    (spec,) = proposed(path, window=12, hop=8).inputs
    assert (spec.dims, spec.carry, spec.graph_dims) == ((8,), 4, (12,))
    assert proposed(path, dims={"input": (12,)}, carry=4).inputs == (spec,)
    assert proposed(path).axes.time is None


def test_a_hop_that_does_not_fit_the_window_is_explained(tmp_path: Path) -> None:
    assert any("do not fit" in line for line in opened(samples(tmp_path), hop=13).open)


def test_the_window_that_a_streaming_exporter_wrote_is_used(tmp_path: Path) -> None:
    nodes = [
        N("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
        N("Gemm", ["mean", "w"], ["a"]),
        N("Add", ["a", "h"], ["h_out"]),
        N("Identity", ["h_out"], ["y"]),
    ]
    x = fg.port(X, shape=["N", 9, fg.FEATURES])
    said = {"T": "9", "decode_chunk_len": "6"}
    path = fg.save(tmp_path, nodes, [x, CELL], [fg.port(CELL, "y"), fg.port(CELL, "h_out")], said)
    (spec,) = proposed(path).inputs
    assert (spec.dims, spec.carry) == ((6, fg.FEATURES), 3)


def test_a_width_that_the_graph_does_not_fix_is_open(tmp_path: Path) -> None:
    path = fg.save(
        tmp_path,
        [N("Identity", ["x"], ["y"])],
        [fg.port(X, shape=["N", "T", "D"])],
        [fg.port(X, "y", ["N", "T", "D"])],
    )
    draft = opened(path)
    assert draft.document["inputs"][0]["dims"] == ["?"]
    assert any("--dims x=SIZE" in line for line in draft.open)
    assert proposed(path, dims={"x": (5,)}).inputs[0].dims == (5,)


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


def test_what_onnx_runtime_does_not_have_is_passed_on_with_a_draft(tmp_path: Path) -> None:
    nodes = [N("LSTM", ["x", "W", "R", "", "", "h", "c"], ["Y", "h1", "c1"], hidden_size=2)]
    size: graphs.Shape = [1, "rows", 2]
    kind = TensorProto.DOUBLE
    graph = helper.make_graph(
        nodes,
        "wide",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, shape in (("x", ["steps", "rows", 3]), ("h", size), ("c", size))
        ],
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, shape in (("Y", ["steps", 1, "rows", 2]), ("h1", size), ("c1", size))
        ],
        [onnx.numpy_helper.from_array(np.zeros((1, 8, n)), name) for name, n in (("W", 3), ("R", 2))],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "x"
    )
    draft = opened(tmp_path / "x")
    assert "double" in draft.open[0]
    assert [state["output"] for state in draft.document["states"]] == ["h1", "c1"]


def test_the_sizes_that_were_tried_are_not_part_of_a_message(tmp_path: Path) -> None:
    nodes = [N("MatMul", ["x", "a"], ["y0"]), N("MatMul", ["x", "b"], ["y"])]  # 3 features, and 4
    path = fg.save(
        tmp_path,
        nodes,
        [fg.port(X, shape=["batch", "time", "F"])],
        [fg.port(Y, shape=["batch", "time", 2]), fg.port(Y, "y0", ["batch", "time", 2])],
        a=np.ones((5, 2), np.float32),
        b=np.ones((6, 2), np.float32),
    )
    draft = opened(path)
    assert "the graph does not run" in draft.open[0]
    assert not any("Got" in line or "Expected" in line for line in draft.open)


def test_a_dtype_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    strings = fg.port(X, dtype=TensorProto.STRING)
    path = fg.save(tmp_path, [N("Identity", ["x"], ["y"])], [strings], [fg.port(strings, "y")])
    draft = opened(path)
    assert "tensor(string)" in draft.open[0]
    assert draft.document["inputs"][0]["dtype"] == "?"


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("nothing")
    with pytest.raises(StartupError, match="not a valid ONNX file"):
        propose(tmp_path / "x.onnx")


def test_an_open_draft_is_refused_by_a_load_with_the_same_words(tmp_path: Path) -> None:
    path = fg.save(tmp_path, [*RATED, *fg.gru("x3")], [X, RATE, H], [Y, HN], k=np.float32(16000))
    draft = opened(path)
    (tmp_path / MANIFEST_FILE).write_text(draft.text)
    with pytest.raises(StartupError) as refused:
        read_manifest(tmp_path)
    assert all(line in refused.value.detail for line in draft.open)


def test_the_example_is_the_answer_of_bare_onnx_runtime(tmp_path: Path) -> None:
    onnx.save(graphs.two_inputs(), tmp_path / "two.onnx")
    example = proposed(tmp_path / "two.onnx", steps={"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}).example
    assert example is not None and example.output == [16, 20]


def test_the_example_of_a_manifest_that_is_there_is_computed_again(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    document = json.loads((folder / MANIFEST_FILE).read_text()) | {"example": "?"}
    (folder / MANIFEST_FILE).write_text(json.dumps(document))
    assert needs_example(folder)
    example = recompute_example(folder / "model.onnx", folder, [[1, 2], [3, 5]]).example
    assert example is not None and example.output == [4, 7]
    with pytest.raises(StartupError, match="cannot be computed"):
        recompute_example(folder / "model.onnx", folder, [[1, 2], [3]])


def test_a_carry_and_one_step_a_call_are_computed_step_by_step(tmp_path: Path) -> None:
    draft = proposed(samples(tmp_path), window=12, hop=8, steps=[[1] * 8, [2] * 8])
    assert draft.example is not None
    assert draft.example.output == pytest.approx([8 + 4 + 16])
