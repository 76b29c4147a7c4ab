"""What is open in a draft is explained, settled by options, and refused by a load with the same words."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.errors import StartupError
from service.manifest import MANIFEST_FILE
from service.repository import Options, needs_example, propose, read_manifest, recompute_example
from tests.service import graphs
from tests.service.repository import foreign_graphs as fg
from tests.service.repository.foreign_graphs import CELL, HIDDEN, HN, H, N, X, Y, opened, proposed

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


def test_the_sample_rate_is_a_constant_of_the_graph_or_an_option(tmp_path: Path) -> None:
    path = fg.save(tmp_path, [*RATED, *fg.gru("x3")], [X, RATE, H], [Y, HN], k=np.float32(16000))
    (spec,) = proposed(path, constants={"sr": 8000}).inputs
    assert (spec.kind, spec.sample_rate) == ("audio", 8000)
    notes = propose(path, Options(constants={"sr": 8000})).notes
    assert any("is taken for sound at 8000 samples a second" in note for note in notes)
    (spec,) = proposed(path, constants={"sr": 8000}, audio={spec.name: 44100}).inputs
    assert (spec.kind, spec.sample_rate) == ("audio", 44100)
    assert any("no input 'y'" in line for line in opened(path, constants={"sr": 1}, audio={"y": 1}).open)


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


def test_samples_without_a_window_name_the_options(tmp_path: Path) -> None:
    """Silero's detector, as it is."""
    nodes = [
        N("ReduceMean", ["input"], ["a"], axes=[1], keepdims=1),
        N("Add", ["a", "state"], ["stateN"]),
        N("ReduceMean", ["stateN"], ["output"], axes=[1], keepdims=1),
    ]
    inputs: list[fg.Port] = [("input", fg.F32, ["batch", "n"]), ("state", fg.F32, ["batch", HIDDEN])]
    outputs: list[fg.Port] = [("output", fg.F32, ["batch", 1]), ("stateN", fg.F32, ["batch", HIDDEN])]
    path = fg.save(tmp_path, nodes, inputs, outputs)
    assert any("--window SIZE --hop SIZE" in line for line in opened(path).open)
    (spec,) = proposed(path, window=12, hop=8).inputs
    assert (spec.dims, spec.carry) == ((8,), 4)


def test_all_sizes_of_a_step_are_named_in_one_option(tmp_path: Path) -> None:
    """A convolutional LSTM over images of any size: a side of the image was taken for the time."""
    image: fg.Port = ("frame", fg.F32, ["batch", 1, "H", "W"])
    nodes = [
        N("Add", ["frame", "h"], ["sum"]),
        N("Conv", ["sum", "K"], ["h_out"], pads=[1, 1, 1, 1]),
        N("Relu", ["h_out"], ["next_frame"]),
    ]
    kernel = np.random.default_rng(0).normal(size=(1, 1, 3, 3)).astype(np.float32)
    outputs = [fg.port(image, "next_frame"), fg.port(image, "h_out")]
    path = fg.save(tmp_path, nodes, [image, fg.port(image, "h")], outputs, K=kernel)
    draft = opened(path)
    assert draft.document["axes"] == {"batch": 0, "time": None}
    assert any("--dims frame=1,SIZE,SIZE" in line for line in draft.open)
    assert not any("cache" in line for line in draft.open)
    settled = proposed(path, dims={"frame": (1, 5, 6)})
    assert (settled.inputs[0].dims, settled.states[0].shape) == ((1, 5, 6), ("batch", 1, 5, 6))


def test_a_graph_that_runs_with_no_size_names_those_to_give(tmp_path: Path) -> None:
    """An exporter that writes the sizes of its example into the graph, as around attention."""
    nodes = [N("Reshape", ["x", "sizes"], ["shaped"]), N("Relu", ["shaped"], ["y"])]
    path = fg.save(tmp_path, nodes, [X], [fg.port(X, "y")], sizes=[2, 7, 4])
    assert any("--dims x=SIZE,SIZE,4" in line for line in opened(path).open)
    axes = proposed(path, dims={"x": (2, 7, 4)}).axes
    assert (axes.batch_size, axes.time_size) == (2, 7)


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


def test_what_onnx_runtime_does_not_have_is_passed_on_with_a_draft(tmp_path: Path) -> None:
    nodes = [N("LSTM", ["x", "dW", "dR", "", "", "h", "c"], ["y", "h1", "c1"], hidden_size=2)]
    states: list[fg.Port] = [(name, TensorProto.DOUBLE, [1, "rows", 2]) for name in ("h", "c", "h1", "c1")]
    path = fg.save(
        tmp_path,
        nodes,
        [("x", TensorProto.DOUBLE, ["steps", "rows", 3]), *states[:2]],
        [("y", TensorProto.DOUBLE, ["steps", 1, "rows", 2]), *states[2:]],
        dW=np.zeros((1, 8, 3)),
        dR=np.zeros((1, 8, 2)),
    )
    draft = opened(path)
    assert "double" in draft.open[0]
    assert [state["output"] for state in draft.document["states"]] == ["h1", "c1"]
    assert draft.document["states"][0]["shape"] == [1, "batch", 2]


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
