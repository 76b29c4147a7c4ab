"""Whatever kind of graph: every batch, cut and session equals bare ONNX Runtime, one sequence alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching import Batching, scheduler_for
from service.engine.onnx import OnnxEngine
from service.sequence import Array, Sequence, State
from tests.service.engine.judge import ForeignKind
from tests.service.engine.kinds import KINDS


class Opened:
    """An engine, the law's scheduler, and the judge."""

    def __init__(self, kind: ForeignKind, folder: Path) -> None:
        path = folder / "model.onnx"
        onnx.save(kind.graph, path)
        self.kind, self.manifest = kind, kind.manifest
        self.engine = OnnxEngine(path, kind.manifest, provider="cpu")

    def inputs(self, random: np.random.Generator, steps: int) -> tuple[Array, dict[str, Array]]:
        spec = self.manifest.step_inputs[0]
        low, high = (0, 2) if spec.dtype in ("bool", "uint8") else (-4, 5)
        x = random.integers(low, high, (steps, *spec.dims)).astype(spec.dtype)
        values = {
            spec.name: random.integers(-4, 5, spec.dims).astype(spec.dtype)
            for spec in self.manifest.sequence_inputs
        }
        return x, values

    def allowed(self, steps: int) -> int:
        """The nearest number of steps that the graph takes."""
        if self.manifest.exact_steps is not None:
            return self.manifest.exact_steps
        return steps * self.manifest.step_multiple

    def run(self, sequences: list[Sequence], *, max_batch: int, chunk_steps: int) -> None:
        bounds = Batching(max_batch=max_batch, chunk_steps=chunk_steps, max_waiting=99)
        scheduler = scheduler_for(self.manifest, bounds)
        for sequence in sequences:
            scheduler.add(sequence)
        while batch := scheduler.schedule(0.0):
            scheduler.commit(batch, self.engine.run(batch))
        assert all(sequence.done == sequence.steps for sequence in sequences)

    def start(self, values: dict[str, Array]) -> State:
        return self.engine.layout.with_values(self.engine.initial_state, values)


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened(request.param, tmp_path_factory.mktemp("kind"))


def each(kinds: list[ForeignKind]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", kinds, ids=lambda kind: kind.name, indirect=True)


def assert_equal(ours: Array, theirs: Array) -> None:
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


@each(KINDS)
@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    max_batch=st.integers(1, 9),
    chunk_steps=st.integers(1, 12),
    keep_all=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_batch_and_cut_answers_as_bare_onnx_runtime(
    opened: Opened, lengths: list[int], max_batch: int, chunk_steps: int, keep_all: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    outputs = range(1, len(opened.manifest.outputs))
    given_inputs = [opened.inputs(random, opened.allowed(length)) for length in lengths]
    sequences = []
    for number, (x, values) in enumerate(given_inputs):
        extra = tuple(outputs) if number % 2 else tuple(reversed(outputs))[:1]
        is_all = keep_all and opened.manifest.outputs[0].steps == "all"
        sequences.append(Sequence((x,), opened.start(values), keep_all=is_all, extra=extra))
    opened.run(sequences, max_batch=max_batch, chunk_steps=chunk_steps)
    for (x, values), sequence in zip(given_inputs, sequences, strict=True):
        expected = opened.kind.bare(x, values)
        for index in (0, *sequence.extra):
            is_last = opened.manifest.outputs[index].steps == "last"
            whole = expected[index][-1:] if is_last else expected[index]
            assert_equal(sequence.output(index), whole if sequence.keep_all else whole[-1])


@each([kind for kind in KINDS if kind.manifest.chunkable])
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1))
def test_a_session_cut_anywhere_answers_as_bare_onnx_runtime(
    opened: Opened, cuts: list[int], seed: int
) -> None:
    pieces = [opened.allowed(cut) for cut in cuts]
    x, values = opened.inputs(np.random.default_rng(seed), sum(pieces))
    state, start, answers = opened.start(values), 0, []
    for steps in pieces:
        sequence = Sequence((x[start : start + steps],), state, keep_all=True)
        opened.run([sequence], max_batch=1, chunk_steps=3)
        packed = opened.engine.layout.pack(sequence.state)
        assert len(packed) == opened.engine.layout.num_bytes
        state, start = opened.engine.resume(b"", b"", packed), start + steps
        answers.append(sequence.output())
    expected = opened.kind.bare(x, values)[0]
    if opened.manifest.outputs[0].steps == "all":
        assert_equal(np.concatenate(answers), expected)
    else:
        assert_equal(answers[-1][-1:], expected[-1:])


def test_the_kinds_cover_what_a_manifest_can_say() -> None:
    manifests = [kind.manifest for kind in KINDS]
    axes = {(m.axes.batch, m.axes.time) for m in manifests}
    assert {(0, None), (None, None), (0, 1), (1, 0), (0, 2), (2, 1), (1, 2), (None, 0)} <= axes
    dtypes: set[Any] = {spec.dtype for m in manifests for spec in m.inputs}
    assert len(dtypes) == 9
    assert {m.axes.batch_size for m in manifests} == {None, 1, 3, 4}
    assert {m.axes.time_size for m in manifests} == {None, 1, 3}
