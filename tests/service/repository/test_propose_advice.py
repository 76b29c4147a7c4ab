"""The notes of a draft say what a sequence is, and which option makes it another."""

from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization import quantize_dynamic

from service.repository import Options, propose
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import (
    CELL,
    CLASSES,
    FEATURES,
    HIDDEN,
    HN,
    ROW,
    H,
    N,
    X,
    Y,
    opened,
    proposed,
)

# x, and a cache of the last two steps: every step of a call sees every other, as in chunk attention.
CHUNK = [
    N("Concat", ["cache", "x"], ["all"], axis=1),
    N("ReduceMean", ["all"], ["mean"], axes=[1], keepdims=1),
    N("Add", ["x", "mean"], ["y"]),
    N("Slice", ["all", "start", "end", "one"], ["cache_out"]),
]
CACHE: fg.Port = ("cache", fg.F32, ["batch", 2, FEATURES])


def notes(path: Path, **options: object) -> str:
    return "\n".join(propose(path, Options(**options)).notes)  # type: ignore[arg-type]


def chunks(tmp_path: Path) -> Path:
    x = fg.port(X, shape=["batch", 6, FEATURES])
    outputs = [fg.port(x, "y"), fg.port(CACHE, "cache_out")]
    return fg.save(tmp_path, CHUNK, [x, CACHE], outputs, start=[-2], end=[2**40])


def test_a_chunk_whose_steps_see_one_another_names_the_option_that_makes_it_one_step(tmp_path: Path) -> None:
    """It was drafted as not causal, without a word, so nobody could have a session."""
    path = chunks(tmp_path)
    assert "among the 6 steps of a call, so causal is false" in notes(path)
    assert "--time-axis none" in notes(path)
    draft = proposed(path, time_axis=-1)
    assert (draft.causal, draft.inputs[0].dims, fg.pairs(draft)) == (
        True,
        (6, FEATURES),
        {"cache": "cache_out"},
    )


@pytest.mark.parametrize("size", ["frames", 6])
def test_windows_that_slide_are_named(size: int | str, tmp_path: Path) -> None:
    """A detector of wake words: one answer for all frames of a window."""
    nodes = [N("MatMul", ["x", "w"], ["a"]), N("ReduceMax", ["a"], ["y"], axes=[1], keepdims=0)]
    x = fg.port(X, shape=["batch", size, FEATURES])
    path = fg.save(tmp_path, nodes, [x], [fg.port(Y, shape=["batch", HIDDEN])])
    assert f"--time-axis none{'' if size == 6 else ' --dims x=STEPS,4'} --hop STEPS" in notes(path)
    dims = {} if size == 6 else {"x": (6, 4)}
    (spec,) = proposed(path, time_axis=-1, dims=dims, hop=2).inputs
    assert (spec.dims, spec.carry) == ((2, FEATURES), 4)
    assert proposed(path, window=6, hop=2).inputs == (spec,)


def test_a_time_axis_of_which_only_the_first_steps_are_read_is_refused(tmp_path: Path) -> None:
    """Keras unrolls a loop for one step of an example, and leaves the axis free: answers would be wrong."""
    nodes = [N("Gather", ["x", "first"], ["one_x"], axis=1), N("MatMul", ["one_x", "w"], ["y"])]
    path = fg.save(tmp_path, nodes, [X], [fg.port(Y, shape=["batch", 1, HIDDEN])], first=[0])
    assert any("a later step of 'x' changes no answer" in line for line in opened(path).open)


def test_first_and_last_steps_alone_are_not_enough(tmp_path: Path) -> None:
    """The same of a bidirectional layer."""
    nodes = [
        N("Gather", ["x", "ends"], ["ends_x"], axis=1),
        N("MatMul", ["ends_x", "w"], ["a"]),
        N("ReduceSum", ["a", "one"], ["y"]),
    ]
    path = fg.save(tmp_path, nodes, [X], [fg.port(Y, shape=["batch", 1, HIDDEN])], ends=[0, -1])
    assert any("a later step of 'x' changes no answer" in line for line in opened(path).open)


def test_a_graph_without_states_says_that_nothing_is_kept(tmp_path: Path) -> None:
    path = fg.save(tmp_path, [N("Gemm", ["x", "w"], ["y"])], [ROW], [fg.port(CELL, "y")])
    assert "each step is answered by itself" in notes(path)


def test_lengths_that_are_answered_again_are_left_out(tmp_path: Path) -> None:
    """As predictors of RNN transducers do."""
    nodes = [*fg.gru(), N("Identity", ["x_len"], ["y_len"])]
    lengths: fg.Port = ("x_len", fg.I64, ["batch"])
    path = fg.save(tmp_path, nodes, [X, lengths, H], [Y, fg.port(lengths, "y_len"), HN])
    draft = proposed(path)
    assert ([spec.name for spec in draft.outputs], draft.lengths, draft.causal) == (["y"], "x_len", True)
    assert "--answer y_len" in notes(path)
    assert [spec.name for spec in proposed(path, answers=("y_len",)).outputs] == ["y", "y_len"]


def test_an_input_that_does_not_change_can_be_given_once(tmp_path: Path) -> None:
    """A decoder of one step a call with what its encoder found, which has a fixed axis of its own."""
    nodes = [
        *fg.cell(),
        N("ReduceMean", ["encoder_out"], ["mean"], axes=[1], keepdims=0),
        N("Add", ["new", "mean"], ["both"]),
        N("Gemm", ["both", "v"], ["y"]),
    ]
    memory: fg.Port = ("encoder_out", fg.F32, ["batch", 7, HIDDEN])
    y = fg.port(ROW, "y", ["batch", CLASSES])
    path = fg.save(tmp_path, nodes, [ROW, memory, CELL], [y, fg.port(CELL, "new")])
    assert "--per-sequence encoder_out" in notes(path)
    draft = proposed(path, per_sequence=("encoder_out",))
    assert draft.axes.time is None
    assert [(spec.name, spec.per, spec.dims) for spec in draft.inputs] == [
        ("x", "step", (FEATURES,)),
        ("encoder_out", "sequence", (7, HIDDEN)),
    ]


def test_rows_that_are_not_alike_are_no_batch(tmp_path: Path) -> None:
    """Channels that do not change one another, each with its own weight, were taken for rows."""
    nodes = [N("Mul", ["state", "k"], ["kept"]), N("Add", ["kept", "u"], ["state_out"])]
    nodes += [N("Mul", ["state_out", "k"], ["y"])]
    ports: list[fg.Port] = [(name, fg.F32, [1, HIDDEN]) for name in ("u", "state", "y", "state_out")]
    k = np.linspace(0.1, 0.9, HIDDEN, dtype=np.float32)
    draft = proposed(fg.save(tmp_path, nodes, ports[:2], ports[2:], k=k))
    assert (draft.axes.batch, draft.axes.batch_size, draft.inputs[0].dims) == (0, 1, (HIDDEN,))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"states": {"q": "hn"}}, "input 'q'"),
        ({"states": {"h": "q"}}, "output 'q'"),
        ({"no_states": ("q",)}, "input 'q'"),
        ({"per_sequence": ("q",)}, "input 'q'"),
        ({"constants": {"q": 1}}, "input 'q'"),
        ({"dims": {"q": (1,)}}, "input 'q'"),
        ({"answers": ("q",)}, "output 'q'"),
    ],
)
def test_an_option_that_names_nothing_is_explained(
    options: dict[str, object], what: str, tmp_path: Path
) -> None:
    """It was ignored."""
    path = fg.save(tmp_path, fg.gru(), [X, H], [Y, HN])
    assert any(f"the graph has no {what}" in line for line in opened(path, **options).open)


def test_windows_of_a_layer_with_memory_are_not_taken_for_a_stream(tmp_path: Path) -> None:
    """With a carry the server cuts a sequence, but what is carried over is not all that the layer knows."""
    nodes = [
        N("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        N("GRU", ["x_t", "W", "R", "B"], ["Y0", ""], hidden_size=HIDDEN),
        N("Squeeze", ["Y0", "one"], ["Y1"]),
        N("Transpose", ["Y1"], ["y"], perm=[1, 0, 2]),
    ]
    path = fg.save(tmp_path, nodes, [X], [Y])
    assert proposed(path).causal
    assert not proposed(path, time_axis=1, carry=2).causal


def test_an_eight_bit_graph_may_be_cut_within_its_rounding(tmp_path: Path) -> None:
    """It was drafted as not causal, and with one row a call: cutting changes the scale of its activations."""
    path = fg.save(tmp_path, fg.lstm(), [X, H, fg.port(H, "c")], [Y, HN, fg.port(HN, "cn")])
    quantize_dynamic(path, tmp_path / "q.onnx", op_types_to_quantize=["LSTM"])
    draft = proposed(tmp_path / "q.onnx")
    assert (draft.causal, draft.axes.batch_size) == (True, None)
    assert fg.pairs(draft) == {"h": "hn", "c": "cn"}
