"""Every kind of graph we serve, in ragged batches and chunks, compared with the expected answers."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from service.engine.batching import Batching
from service.engine.onnx import OnnxEngine
from service.engine.scheduler import Scheduler
from service.errors import InvalidField, NonFiniteOutput
from service.manifest import GRAPH_FILE, Manifest
from service.repository import Model
from service.sequence import Array, Batch, Chunk, Sequence
from tests.e2e import graphs as e2e_graphs
from tests.service import graphs
from tests.service.graphs import FLOAT, WIDTH, Kind, model
from tests.service.loading import load, run


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Every kind of summing graph, as the server loads it."""
    root = tmp_path_factory.mktemp("models")
    for kind in graphs.SUMMING:
        kind.write(root)
    return {model.name: model for model in load(root, Batching(max_batch=3, chunk_steps=4, max_waiting=99))}


@pytest.fixture(scope="module")
def vowels_engine(models_dir: Path, vowels: Manifest) -> OnnxEngine:
    return OnnxEngine(models_dir / "vowels" / "1" / GRAPH_FILE, vowels, provider="cpu")


def test_the_summing_graphs_cover_every_order_of_axes(loaded: dict[str, Model]) -> None:
    manifests = [model.manifest for model in loaded.values()]
    assert {(m.axes.batch, m.axes.time, m.axes.batch_size) for m in manifests} == {
        (0, None, None), (0, 1, 1), (None, 0, None), (1, 0, None), (0, 1, None),
    }  # fmt: skip
    assert all(model.difference < 1e-4 for model in loaded.values()), "rounding alone"


@pytest.mark.parametrize("kind", graphs.SUMMING, ids=lambda kind: kind.name)
@given(lengths=st.lists(st.integers(1, 11), min_size=1, max_size=7), seed=st.integers(0, 2**32 - 1))
def test_any_batch_of_any_graph_answers_as_one_by_one(
    loaded: dict[str, Model], kind: Kind, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.integers(-9, 10, (length, WIDTH)).astype(np.float32) for length in lengths]
    keep_all = kind is not graphs.LAST_ONLY
    outputs = run(loaded[kind.name], [(x,) for x in inputs], keep_all=keep_all)
    for x, y in zip(inputs, outputs, strict=True):
        expected = kind.expected(x)
        assert np.array_equal(y, expected if keep_all else expected[-1])


def serve(
    engine: OnnxEngine, inputs: list[Array], *, max_batch: int, chunk_steps: int, ragged: bool = True
) -> list[Sequence]:
    scheduler = Scheduler(max_batch=max_batch, chunk_steps=chunk_steps, max_waiting=99, ragged=ragged)
    sequences = [Sequence((x,), engine.initial_state, keep_all=True) for x in inputs]
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, engine.run(batch))
    return sequences


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9),
    max_batch=st.integers(1, 9),
    chunk_steps=st.integers(1, 17),
    ragged=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_batching_and_chunking_change_no_bit(
    vowels_engine: OnnxEngine, lengths: list[int], max_batch: int, chunk_steps: int, ragged: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [random.normal(size=(length, 12)).astype(np.float32) for length in lengths]
    together = serve(vowels_engine, inputs, max_batch=max_batch, chunk_steps=chunk_steps, ragged=ragged)
    for x, sequence in zip(inputs, together, strict=True):
        alone = serve(vowels_engine, [x], max_batch=1, chunk_steps=len(x))[0]
        assert np.array_equal(sequence.output(), alone.output())
        for ours, theirs in zip(sequence.state, alone.state, strict=True):
            assert np.array_equal(ours, theirs)


def test_the_last_step_alone_is_the_last_of_all(vowels_engine: OnnxEngine) -> None:
    x = np.ones((9, 12), np.float32)
    every = serve(vowels_engine, [x], max_batch=1, chunk_steps=4)[0].output()
    last = Sequence((x,), vowels_engine.initial_state)
    scheduler = Scheduler(max_batch=1, chunk_steps=4, max_waiting=1)
    scheduler.add(last)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, vowels_engine.run(batch))
    assert every.shape == (9, 9) and np.array_equal(last.output(), every[-1])
    assert len(last.outputs) == 1, "the request did not ask for the others"


def test_a_row_is_a_copy_that_does_not_hold_the_batch(vowels_engine: OnnxEngine) -> None:
    inputs = [np.ones((n, 12), np.float32) for n in (3, 30)]
    short, _ = serve(vowels_engine, inputs, max_batch=2, chunk_steps=30)
    assert short.outputs[0].base is None


def test_the_initial_state_is_the_manifests(tmp_path: Path) -> None:
    path, manifest = graphs.write_lstm(
        tmp_path, states=[graphs.LSTM_STATES[0], graphs.LSTM_STATES[1] | {"initial": 0.5}]
    )
    h, c = OnnxEngine(path, manifest, provider="cpu").initial_state
    assert [h.shape, c.shape] == [(1, 3), (1, 3)]
    assert (h == 0).all() and (c == 0.5).all() and c.dtype == np.float32


def test_the_output_dtype_is_the_graphs(vowels_engine: OnnxEngine, tmp_path: Path) -> None:
    assert vowels_engine.output_dtype == "float32"
    assert OnnxEngine(*graphs.write_lstm(tmp_path), provider="cpu").provider == "CPUExecutionProvider"


def test_a_state_is_resumed_from_its_bytes(vowels_engine: OnnxEngine) -> None:
    x = np.ones((9, 12), np.float32)
    whole = serve(vowels_engine, [x], max_batch=1, chunk_steps=9)[0]
    first = serve(vowels_engine, [x[:4]], max_batch=1, chunk_steps=9)[0]
    packed = vowels_engine.layout.pack(first.state)
    vowels_engine.keep(b"key", b"revision", first.state)
    rest = Sequence((x[4:],), vowels_engine.resume(b"key", b"revision", packed), keep_all=True)
    scheduler = Scheduler(max_batch=1, chunk_steps=9, max_waiting=1)
    scheduler.add(rest)
    while batch := scheduler.schedule(0.0):
        scheduler.commit(batch, vowels_engine.run(batch))
    assert np.array_equal(rest.output(), whole.output()[4:])


def reciprocal(*, non_finite: str = "refuse", device: str = "", folder: Path, **fields: Any) -> OnnxEngine:
    """y = 1 / √x, and the state h = h + y: 0 gives an infinity, a negative number NaN."""
    graph = model(
        [
            helper.make_node("Sqrt", ["x"], ["root"]),
            helper.make_node("Reciprocal", ["root"], ["y"]),
            helper.make_node("ReduceSum", ["y", "one"], ["added"], keepdims=0),
            helper.make_node("Add", ["h", "added"], ["h_out"]),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        {"x": (FLOAT, ["N", "T", 1]), "h": (FLOAT, ["N", 1])},
        {"y": (FLOAT, ["N", "T", 1]), "h_out": (FLOAT, ["N", 1]), "same": (FLOAT, ["N", "T", 1])},
        {"one": np.array([1], np.int64)},
    )
    onnx.save(graph, folder / "reciprocal.onnx")
    base: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1], "missing": "nan"}],
        "outputs": [{"name": "y", "dims": [1]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1]}],
        "non_finite": non_finite,
    }
    manifest = Manifest.model_validate(base | fields)
    return OnnxEngine(folder / "reciprocal.onnx", manifest, provider="cpu", device=device)


def chunks_of(engine: OnnxEngine, rows: list[list[float]], **fields: Any) -> Batch:
    arrays = [np.array(row, np.float32).reshape(-1, 1) for row in rows]
    return Batch([Chunk(Sequence((x,), engine.initial_state, **fields), 0, len(x)) for x in arrays])


@pytest.mark.parametrize("keep_all", [False, True])
@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_row_that_is_not_finite_fails_alone(tmp_path: Path, bad: float, keep_all: bool) -> None:
    engine = reciprocal(folder=tmp_path)
    rows: list[list[float]] = [[1, 4, 16], [1, bad, 4], [4, 4, 4]]
    first, failed, last = engine.run(chunks_of(engine, rows, keep_all=keep_all))
    assert isinstance(failed.error, NonFiniteOutput) and "'y' has NaN or an infinity" in failed.error.detail
    assert first.error is last.error is None
    (alone,) = engine.run(chunks_of(engine, rows[:1], keep_all=keep_all))
    assert np.array_equal(first.output, alone.output) and np.array_equal(first.state[0], alone.state[0])


def test_numbers_that_are_not_finite_are_an_answer_if_the_manifest_allows_them(tmp_path: Path) -> None:
    engine = reciprocal(folder=tmp_path, non_finite="allow")
    (result,) = engine.run(chunks_of(engine, [[4, 0]], keep_all=True))
    assert result.error is None and result.output.tolist() == [[0.5], [np.inf]]


def test_a_further_output_is_checked_if_it_is_wanted(tmp_path: Path) -> None:
    outputs = [{"name": "y", "dims": [1]}, {"name": "same", "dims": [1]}]
    engine = reciprocal(folder=tmp_path, outputs=outputs)
    infinity = [[float("inf")], [1.0]]
    assert [result.error for result in engine.run(chunks_of(engine, infinity))] == [None, None]
    failed, fine = engine.run(chunks_of(engine, infinity, extra=(1,)))
    assert isinstance(failed.error, NonFiniteOutput) and "'same'" in failed.error.detail
    assert fine.error is None and fine.extra[0].tolist() == [[1]]
    batch = chunks_of(engine, infinity)
    batch.chunks[1].sequence.extra = (1,)
    assert [result.error for result in engine.run(batch)] == [None, None], "only its neighbour wants it"


def test_padding_that_is_not_finite_is_no_error(tmp_path: Path) -> None:
    path, manifest = graphs.write_lstm(tmp_path)
    graph = onnx.load(path)
    graph.graph.node.append(helper.make_node("Abs", ["y"], ["positive"]))
    graph.graph.node.append(helper.make_node("Log", ["positive"], ["z"]))  # of 0 in the padding
    graph.graph.output.append(helper.make_tensor_value_info("z", FLOAT, ["N", "T", 3]))
    onnx.save(graph, path)
    fields = manifest.model_dump() | {"outputs": [{"name": "z", "dims": [3]}]}
    engine = OnnxEngine(path, Manifest.model_validate(fields), provider="cpu")
    rows = [np.ones((steps, WIDTH), np.float32) for steps in (1, 5)]
    batch = Batch([Chunk(Sequence((x,), engine.initial_state, keep_all=True), 0, len(x)) for x in rows])
    results = engine.run(batch)
    assert [result.error for result in results] == [None, None]
    assert all(np.isfinite(result.output).all() for result in results)


def test_an_id_beyond_the_embedding_is_refused_as_input(tmp_path: Path) -> None:
    onnx.save(graphs.tokens(5), tmp_path / "tokens.onnx")
    manifest = Manifest.model_validate({
        "task": "label",
        "inputs": [{"name": "x", "kind": "token", "dtype": "int64"}],
        "outputs": [{"name": "y", "dims": [WIDTH]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", WIDTH]}],
    })  # fmt: skip
    engine = OnnxEngine(tmp_path / "tokens.onnx", manifest, provider="cpu")
    ids = np.array([1, 99], np.int64)
    with pytest.raises(InvalidField, match="idx=99"):
        engine.run(Batch([Chunk(Sequence((ids,), engine.initial_state), 0, 2)]))


def test_weights_in_an_external_file_lie_beside_the_graph(tmp_path: Path) -> None:
    path, manifest = graphs.write_lstm(tmp_path)
    x = np.ones((3, WIDTH), np.float32)

    def answer() -> Array:
        engine = OnnxEngine(path, manifest, provider="cpu")
        (result,) = engine.run(Batch([Chunk(Sequence((x,), engine.initial_state), 0, 3)]))
        return result.output

    inside = answer()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=64)
    assert (tmp_path / "w.bin").exists() and np.array_equal(answer(), inside)


def test_rows_share_a_call_only_if_their_states_have_equal_shapes() -> None:
    with tempfile.TemporaryDirectory() as root:
        e2e_graphs.write_all(Path(root))
        folder = Path(root) / "recent" / "1"
        engine = OnnxEngine(folder / GRAPH_FILE, Manifest.read(folder), provider="cpu")
    ages = [0, 2, 5, 1, 2, 0, 3]  # steps before; the cache holds at most 3 of them
    sequences = []
    for age in ages:
        (before,) = serve(engine, [np.ones((age + 1, 1), np.float32)], max_batch=1, chunk_steps=1)
        state = before.state if age else engine.initial_state
        sequences.append(Sequence((np.full((1, 1), age + 10, np.float32),), state, keep_all=True))
    results = engine.run(Batch([Chunk(sequence, 0, 1) for sequence in sequences]))
    for sequence, result in zip(sequences, results, strict=True):
        (alone,) = engine.run(Batch([Chunk(sequence, 0, 1)]))
        assert np.array_equal(result.output, alone.output)
        assert np.array_equal(result.state[0], alone.state[0])
    assert [len(result.state[0]) for result in results] == [1, 3, 3, 3, 3, 1, 3]
