"""States that only their shape points to: paired by the operators that carry them, or left open."""

from pathlib import Path

import numpy as np

from service.repository import Options, propose
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import CELL, CLASSES, HIDDEN, ROW, N, opened, pairs, proposed

GATE = [N("Gemm", ["x", "w"], ["a"]), N("Sigmoid", ["a"], ["g"])]  # [batch, HIDDEN]


def lstm_cell(tmp_path: Path, names: tuple[str, str]) -> Path:
    """An LSTM cell in plain operators, as exporters write it, with outputs that have no names."""
    h, c = names
    nodes = [
        *GATE,
        N("Gemm", [h, "r"], ["b"]),
        N("Add", ["a", "b"], ["gates"]),
        N("Sigmoid", ["gates"], ["f"]),
        N("Mul", ["f", c], ["kept"]),
        N("Mul", ["g", "gates"], ["new"]),
        N("Add", ["kept", "new"], ["add_2"]),
        N("Tanh", ["add_2"], ["t"]),
        N("Mul", ["f", "t"], ["mul_2"]),
        N("Gemm", ["mul_2", "v"], ["linear"]),
    ]
    states = [fg.port(CELL, name) for name in names]
    outputs = [fg.port(ROW, "linear", ["batch", CLASSES]), fg.port(CELL, "mul_2"), fg.port(CELL, "add_2")]
    return fg.save(tmp_path, nodes, [ROW, *states], outputs)


def test_the_cell_of_an_lstm_of_plain_operators_is_the_one_that_is_added_to(tmp_path: Path) -> None:
    """Both outputs have the shape of both states, and no name says which is which."""
    draft = propose(lstm_cell(tmp_path, ("h", "c")))
    assert draft.manifest is not None and pairs(draft.manifest) == {"h": "mul_2", "c": "add_2"}
    assert any("'c' is taken for a state with the new value 'add_2'" in note for note in draft.notes)


def test_a_given_pair_that_the_operators_contradict_is_noted(tmp_path: Path) -> None:
    path = lstm_cell(tmp_path, ("h", "c"))
    draft = propose(path, Options(states={"c": "mul_2"}))
    assert any("carry 'c' to 'add_2' instead" in note for note in draft.notes)
    assert not any("instead" in note for note in propose(path, Options(states={"c": "add_2"})).notes)


def test_a_group_of_anonymous_inputs_is_left_open(tmp_path: Path) -> None:
    """They were drafted as inputs of every step, and the draft was called complete."""
    path = lstm_cell(tmp_path, ("onnx::Gemm_1", "onnx::Mul_2"))
    draft = opened(path)
    assert [state["output"] for state in draft.document["states"]] == ["?", "?"]
    for name in ("onnx::Gemm_1", "onnx::Mul_2"):
        assert any(f"--state {name}=OUTPUT, or --no-state {name}" in line for line in draft.open)
    settled = {"onnx::Gemm_1": "mul_2", "onnx::Mul_2": "add_2"}
    assert pairs(proposed(path, states=settled)) == settled


def test_inputs_that_are_no_states_are_given_with_each_step(tmp_path: Path) -> None:
    names = ("onnx::Gemm_1", "onnx::Mul_2")
    draft = proposed(lstm_cell(tmp_path, names), no_states=names)
    assert not draft.states
    assert [spec.name for spec in draft.inputs] == ["x", *names]
    assert [spec.name for spec in draft.outputs] == ["linear", "mul_2", "add_2"]


def test_states_that_the_operators_mix_are_left_open(tmp_path: Path) -> None:
    """The real and the imaginary part of a state space model: each is added to both."""
    nodes = [
        *GATE,
        *(N("Mul", [part, "k"], [f"{part}_k"]) for part in ("state_re", "state_im")),
        N("Sub", ["state_re_k", "state_im_k"], ["moved"]),
        N("Add", ["moved", "g"], ["add"]),
        N("Add", ["state_re_k", "state_im_k"], ["add_1"]),
        N("Gemm", ["add", "v"], ["y"]),
    ]
    states = [fg.port(CELL, "state_re"), fg.port(CELL, "state_im")]
    outputs = [fg.port(ROW, "y", ["batch", CLASSES]), fg.port(CELL, "add"), fg.port(CELL, "add_1")]
    draft = opened(fg.save(tmp_path, nodes, [ROW, *states], outputs, k=np.float32(0.5)))
    assert [state["output"] for state in draft.document["states"]] == ["?", "?"]


def fed_back(tmp_path: Path) -> Path:
    """A decoder that reads its last answer again, beside a hidden state."""
    nodes = [
        N("Gemm", ["prev_action", "u"], ["p"]),
        N("Gemm", ["x", "w"], ["a"]),
        N("Gemm", ["h", "r"], ["b"]),
        N("Sum", ["a", "b", "p"], ["sum"]),
        N("Tanh", ["sum"], ["h_out"]),
        N("Gemm", ["h_out", "v"], ["action"]),
    ]
    action = fg.port(ROW, "action", ["batch", CLASSES])
    u = np.random.default_rng(1).normal(size=(CLASSES, HIDDEN)).astype(np.float32)
    inputs = [ROW, fg.port(action, "prev_action"), CELL]
    return fg.save(tmp_path, nodes, inputs, [action, fg.port(CELL, "h_out")], u=u)


def test_an_answer_that_is_fed_back_is_noted_and_stays_an_answer(tmp_path: Path) -> None:
    """It was taken for a hidden state without a word."""
    path = fed_back(tmp_path)
    draft = propose(path)
    assert draft.manifest is not None
    assert pairs(draft.manifest) == {"prev_action": "action", "h": "h_out"}
    assert [spec.name for spec in draft.manifest.outputs] == ["action"]
    assert any("--no-state prev_action" in note for note in draft.notes)
    given = proposed(path, no_states=("prev_action",))
    assert (pairs(given), [spec.name for spec in given.inputs]) == ({"h": "h_out"}, ["x", "prev_action"])


def test_a_new_state_can_be_answered_too(tmp_path: Path) -> None:
    draft = proposed(fed_back(tmp_path), answers=("h_out",))
    assert [spec.name for spec in draft.outputs] == ["action", "h_out"]
    assert pairs(draft) == {"prev_action": "action", "h": "h_out"}
