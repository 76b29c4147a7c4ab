"""States are paired by the operators of a graph, then by names, then by cutting; look-ahead is found."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from service.repository import propose
from tests.service import graphs
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import CELL, HIDDEN, HN, ROW, H, N, X, Y, opened, pairs, proposed


def test_states_are_paired_by_the_operators_whatever_their_names(tmp_path: Path) -> None:
    states = [fg.port(H, "a"), fg.port(H, "b")]
    outputs = [fg.port(H, "b.1"), fg.port(H, "a.1"), Y]
    path = fg.save(tmp_path, fg.lstm(("b", "a"), ("a.1", "b.1")), [X, *states], outputs)
    assert pairs(proposed(path)) == {"a": "b.1", "b": "a.1"}


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


@pytest.mark.parametrize("size", ["past", 3])
def test_a_cache_that_grows_is_explained(size: int | str, tmp_path: Path) -> None:
    nodes = [
        N("Concat", ["past_k", "x"], ["present_k"], axis=1),
        N("ReduceMax", ["present_k"], ["y"], axes=[1]),
    ]
    past = fg.port(X, "past_k", ["batch", size, fg.FEATURES])
    one = fg.port(X, shape=["batch", 1, fg.FEATURES])
    present = fg.port(past, "present_k", ["batch", None, fg.FEATURES])  # type: ignore[list-item]
    draft = opened(fg.save(tmp_path, nodes, [one, past], [fg.port(one, "y"), present]))
    assert draft.document["states"][0]["shape"] == ["batch", "?", fg.FEATURES]
    assert any("cache of fixed size" in line for line in draft.open)
    unbounded = "'past_k' grows without bound: 4096 entries after 4096 steps"
    reason = "in one that the graph fixes" if size == 3 else unbounded
    assert any(reason in line for line in draft.open), draft.open


@pytest.mark.parametrize("steps", ["time", 1])
def test_the_bound_of_a_cache_is_measured(steps: int | str, tmp_path: Path) -> None:
    nodes = [
        N("Concat", ["past_k", "x"], ["seen"], axis=1),
        N("Slice", ["seen", "start", "end", "one"], ["present_k"]),
        N("ReduceSum", ["past_k", "one"], ["sum"], keepdims=1),
        N("Add", ["sum", "x"], ["y"]),
    ]
    past = fg.port(X, "past_k", ["batch", "past", fg.FEATURES])
    x = fg.port(X, shape=["batch", steps, fg.FEATURES])
    present = fg.port(past, "present_k", ["batch", "kept", fg.FEATURES])
    graph = fg.save(tmp_path, nodes, [x, past], [fg.port(x, "y"), present], start=[-11], end=[2**40])
    draft = propose(graph)
    assert draft.document["states"] == [
        {"input": "past_k", "output": "present_k", "shape": ["batch", 11, fg.FEATURES], "dtype": "float32"}
        | {"grows": 1}
    ]
    assert any("grows to 11 entries" in note for note in draft.notes)
    assert draft.manifest is not None
    assert draft.manifest.causal is (steps == 1), "a whole run sees the same sum in each of its steps"


def test_a_graph_that_does_not_run_with_an_empty_cache_is_explained(tmp_path: Path) -> None:
    nodes = [
        N("Concat", ["past_k", "x"], ["seen"], axis=1),
        N("Slice", ["seen", "start", "end", "one"], ["present_k"]),
        N("Gather", ["past_k", "zero"], ["oldest"], axis=1),
        N("Add", ["oldest", "x"], ["y"]),
    ]
    past = fg.port(X, "past_k", ["batch", "past", fg.FEATURES])
    one = fg.port(X, shape=["batch", 1, fg.FEATURES])
    present = fg.port(past, "present_k", ["batch", "kept", fg.FEATURES])
    graph = fg.save(tmp_path, nodes, [one, past], [fg.port(one, "y"), present], start=[-5], end=[2**40])
    draft = opened(graph)
    assert any("does not run with states that begin empty" in line for line in draft.open)


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
