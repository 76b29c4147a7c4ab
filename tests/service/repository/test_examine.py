"""A false claim of a manifest is refused; `difference` is 0 only where every bit was equal."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine import Batching
from service.errors import InternalError, StartupError
from service.manifest import Manifest
from service.repository.compare import FLOAT32, QUANTIZED
from service.repository.examine import LONG, MANY_CHUNKS, ROWS, SHORT, Examination
from service.repository.findings import Measurement
from service.sequence import Batch, Engine, Result, Sequence
from service.state import StateLayout
from tests.service.fakes import SumEngine

FOLDER = Path("models/sum/1")
EXAMPLE = np.arange(1.0, 8.0, dtype=np.float32).reshape(7, 1)
BATCHING = Batching(max_batch=20, chunk_steps=30, max_waiting=99)
FOREVER, NONE = (60.0, 60.0), (0.0, 60.0)  # seconds: no trial is left out; only essential ones are made


def manifest(**fields: Any) -> Manifest:
    """What `SumEngine` computes: the running sum of one number."""
    defaults: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1]}],
        "outputs": [{"name": "y", "dims": [1]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1], "dtype": "float64"}],
        "lengths": "lengths",
    }
    return Manifest.model_validate(defaults | fields)


def measure(
    engine: Engine, *, rounding: float = FLOAT32, budgets: tuple[float, float] = FOREVER, **fields: Any
) -> Measurement:
    described = manifest(**fields)
    initial = StateLayout(described.states, described.kept_inputs).initial()
    budget_s, many_rows_s = budgets
    return Examination(
        described,
        initial,
        FOLDER,
        (EXAMPLE,),
        batching=BATCHING,
        rounding=rounding,
        budget_s=budget_s,
        many_rows_s=many_rows_s,
    ).measure(engine)


class ExactEngine(SumEngine):
    """Sums eighths, in which no sum is rounded."""

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        x = np.round(sequence.inputs[0][start:stop] * 8) / 8
        y = sequence.state[0] + np.cumsum(x, axis=0, dtype=np.float64)  # [steps, 1]
        return Result(y, (y[-1],))


class FaultyEngine(ExactEngine):
    """Changes the answers, or the states, of the chunks for which `is_wrong(batch, index)` holds."""

    def __init__(
        self, is_wrong: Callable[[Batch, int], bool], *, amount: float = 0.5, output: bool = True
    ) -> None:
        super().__init__()
        self.is_wrong = is_wrong
        self.amount = amount
        self.output = output

    def run(self, batch: Batch) -> list[Result]:
        return [
            self._change(result) if self.is_wrong(batch, index) else result
            for index, result in enumerate(super().run(batch))
        ]

    def _change(self, result: Result) -> Result:
        if self.output:
            return result._replace(output=result.output + self.amount)
        return result._replace(state=(result.state[0] + self.amount,))


def is_cut(batch: Batch, index: int) -> bool:
    return batch.chunks[index].start > 0 or batch.chunks[index].sequence.state[0][0] != 0


def test_a_sound_engine_makes_no_difference() -> None:
    engine = ExactEngine()
    assert measure(engine, rounding=0.0) == Measurement(0.0, ragged=True, max_rows=20)


def test_lengths_batches_and_cuts_are_tried() -> None:
    engine = ExactEngine()
    measure(engine)
    alone = {batch.steps for batch in engine.batches if len(batch.chunks) == 1}
    many = MANY_CHUNKS * BATCHING.chunk_steps + SHORT
    assert alone >= {1, SHORT, LONG, BATCHING.chunk_steps + SHORT, many, len(EXAMPLE)}
    assert {len(batch.chunks) for batch in engine.batches} >= {2, 3, *ROWS, BATCHING.max_batch}
    chunks = [chunk for batch in engine.batches for chunk in batch.chunks]
    assert {chunk.start for chunk in chunks} >= {0, 3, 6}, "cut by the scheduler"
    assert any(len({chunk.steps for chunk in batch.chunks}) > 1 for batch in engine.batches), "ragged"
    values = np.concatenate([chunk.sequence.inputs[0].ravel() for chunk in chunks])
    assert set(EXAMPLE.ravel()) <= set(values) and values.std() != 0
    assert np.abs(values).max() > EXAMPLE.max()
    assert any(chunk.sequence.state[0][0] and not chunk.start for chunk in chunks), "a state that was reached"


def test_only_what_is_essential_is_tried_on_a_slow_graph() -> None:
    engine = ExactEngine()
    measure(engine, budgets=NONE)
    sizes = {(len(batch.chunks), batch.steps) for batch in engine.batches}
    assert {(1, LONG), (1, SHORT), (1, LONG - SHORT), (2, LONG), (BATCHING.max_batch, 1)} <= sizes
    assert max(batch.steps for batch in engine.batches) == LONG
    assert len(engine.batches) < 30
    steps = sum(len(batch.chunks) * batch.steps for batch in engine.batches)
    assert steps < 170 + BATCHING.max_batch, "a model of 10 ms a step loads about two seconds later"


class SlowEngine(ExactEngine):
    """Takes CPU time for each step of each row."""

    step_s = 0.001

    def run(self, batch: Batch) -> list[Result]:
        until = time.thread_time() + self.step_s * len(batch.chunks) * batch.steps
        while time.thread_time() < until:
            pass
        return super().run(batch)


def test_a_slow_graph_is_tried_with_the_most_rows_too() -> None:
    """It was called exact although calls of three rows were the largest that had been tried."""
    engine = SlowEngine()
    assert measure(engine, budgets=NONE).max_rows == BATCHING.max_batch
    assert (BATCHING.max_batch, 1) in {(len(batch.chunks), batch.steps) for batch in engine.batches}

    class Couples(FaultyEngine, SlowEngine):
        """Its rows influence each other in calls of more than twelve."""

    with pytest.raises(StartupError, match="influence each other"):
        measure(Couples(lambda batch, _: len(batch.chunks) > 12), budgets=NONE)


def test_no_more_rows_are_claimed_than_were_tried() -> None:
    engine = SlowEngine()
    most = measure(engine, budgets=(0.0, 10 * engine.step_s)).max_rows
    assert most == max(len(batch.chunks) for batch in engine.batches) < BATCHING.max_batch


@pytest.mark.parametrize("output", [True, False])
def test_an_answer_that_depends_on_the_cut_is_refused(output: bool) -> None:
    engine = FaultyEngine(is_cut, output=output)
    with pytest.raises(StartupError) as refused:
        measure(engine)
    assert refused.value.detail.startswith("models/sum/1: cut in pieces it answers something else by 0.5")
    assert "is it causal, are the states paired rightly?" in refused.value.detail


def test_a_memory_of_more_than_a_chunk_is_found() -> None:
    """A window over the last 40 steps of a call is whole in a call of 95 steps, and cut in chunks of 30."""

    class Window(ExactEngine):
        def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
            result = super()._step(sequence, start, stop)
            back = np.concatenate([np.zeros((40, 1)), result.output])[: stop - start]
            return result._replace(output=result.output + back)

    with pytest.raises(StartupError, match="in chunks it answers something else"):
        measure(Window())


def test_an_answer_that_depends_on_neighbours_is_refused() -> None:
    for count in (2, 3, BATCHING.max_batch):
        engine = FaultyEngine(lambda batch, _, count=count: len(batch.chunks) == count)  # type: ignore[misc]
        with pytest.raises(StartupError, match=r"influence each other by 0\.5 .*is axis 0 the batch\?"):
            measure(engine)


def test_rows_that_are_wrong_only_if_ragged_get_batches_of_one_length() -> None:
    """Some versions of CUDA's LSTM misread rows that are shorter than their batch."""
    engine = FaultyEngine(lambda batch, index: batch.chunks[index].steps < batch.steps)
    assert measure(engine) == Measurement(0.0, ragged=False, max_rows=20)
    assert measure(ExactEngine(), lengths=None) == Measurement(0.0, ragged=False, max_rows=20)


def test_a_difference_of_rounding_is_measured() -> None:
    engine = FaultyEngine(lambda batch, _: len(batch.chunks) > 1, amount=2.0**-20)
    assert measure(engine) == Measurement(2.0**-20, ragged=True, max_rows=20)


def test_nan_is_never_equal_to_a_number() -> None:
    engine = FaultyEngine(lambda batch, _: len(batch.chunks) > 1, amount=np.nan)
    with pytest.raises(StartupError, match="influence each other by NaN"):
        measure(engine)


class ChaoticEngine(ExactEngine):
    """Every step multiplies what rounding has changed: what was little is a difference after nine steps."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def run(self, batch: Batch) -> list[Result]:
        results = []
        for (sequence, start, stop), result in zip(batch.chunks, super().run(batch), strict=True):
            h, rows = sequence.state[0], []
            for x in sequence.inputs[0][start:stop].astype(np.float64):
                h = (h * self.factor + x * (1 + 1e-9 * len(batch.chunks))) % 1000
                rows.append(h)
            results.append(result._replace(output=np.array(rows), state=(h,)))
        return results


def test_what_steps_amplify_is_rounding_too() -> None:
    assert measure(ChaoticEngine(10), budgets=NONE).difference > FLOAT32 * 1000


def test_what_steps_amplify_to_another_answer_is_refused() -> None:
    with pytest.raises(StartupError, match="influence each other by"):
        measure(ChaoticEngine(1000), budgets=NONE)


class JumpingEngine(FaultyEngine):
    """Its answer jumps where an input is exactly 1: one place more or less explains any difference."""

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        y, state, *_ = super()._step(sequence, start, stop)
        return Result(y + 10.0 * (sequence.inputs[0][start:stop] == 1), state)


def test_a_false_claim_is_refused_also_where_the_answer_jumps() -> None:
    """A flag among the inputs hid that the graph looked ahead; it was served, with wrong answers."""
    with pytest.raises(StartupError, match=r"cut in pieces it answers something else by 2 "):
        measure(JumpingEngine(is_cut, amount=2.0), budgets=NONE)


class LeakyEngine(JumpingEngine):
    """It sees a little of the last step of a chunk in every step; any place of an input makes a jump."""

    share = 1e-3

    def __init__(self) -> None:
        super().__init__(lambda *_: False)

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        y, state, *_ = super()._step(sequence, start, stop)
        x = sequence.inputs[0][start:stop].astype(np.float64)
        return Result(y + self.share * x[-1] + 1e-2 * (x * 1e9 % 1.0) * (np.abs(x) > 0.1), state)


def test_a_little_look_ahead_is_refused_where_jumps_excuse_differences() -> None:
    """It was served as a difference of rounding."""
    with pytest.raises(StartupError, match=r"the steps after them change .* by .*is it causal\?"):
        measure(LeakyEngine(), budgets=NONE)


def test_a_little_look_ahead_is_found_behind_an_integer_answer() -> None:
    """None of the few steps of a trial was near enough to a border: it was called exact."""

    class Rounds(LeakyEngine):
        share = 2.0**-10

        def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
            x = sequence.inputs[0][start:stop]
            leak = self.share * x[-1]
            y, state, *_ = ExactEngine._step(self, sequence, start, stop)
            return Result(np.round(y / 16 + leak).astype(np.int64), state)

    outputs = [{"name": "y", "dims": [1], "dtype": "int64"}]
    with pytest.raises(StartupError, match="the steps after them change the answers"):
        measure(Rounds(), outputs=outputs, budgets=NONE)


def test_a_little_influence_of_neighbours_is_found_behind_an_integer_answer() -> None:
    class Rounds(ExactEngine):
        def run(self, batch: Batch) -> list[Result]:
            mean = np.mean([chunk.sequence.inputs[0][chunk.start] for chunk in batch.chunks])
            return [
                result._replace(output=np.round(result.output / 16 + 2.0**-10 * mean).astype(np.int64))
                for result in super().run(batch)
            ]

    outputs = [{"name": "y", "dims": [1], "dtype": "int64"}]
    with pytest.raises(StartupError, match="rows of one call influence each other"):
        measure(Rounds(), outputs=outputs, budgets=NONE, causal=False)


def test_strangers_are_left_out_where_a_large_number_coarsens_the_others() -> None:
    """INT8 rounds to a share of the largest number in the call: a huge neighbour would leave zeros."""

    class Int8(ExactEngine):
        def run(self, batch: Batch) -> list[Result]:
            largest = max(np.abs(chunk.sequence.inputs[0]).max() for chunk in batch.chunks)
            return [
                result._replace(output=np.round(result.output / largest * 127) * largest / 127)
                for result in super().run(batch)
            ]

    assert 0 < measure(Int8(), rounding=QUANTIZED).difference < 1


def test_a_graph_that_fails_at_another_length_or_batch_is_refused_with_a_hint() -> None:
    class Fails(ExactEngine):
        def __init__(self, fails: Callable[[Batch], bool]) -> None:
            super().__init__()
            self.fails = fails

        def run(self, batch: Batch) -> list[Result]:
            if self.fails(batch):
                raise RuntimeError("boom")
            return super().run(batch)

    with pytest.raises(StartupError, match=r"the graph fails with 9 or 5 steps: boom; .*\"time_size\""):
        measure(Fails(lambda batch: batch.steps == LONG))
    with pytest.raises(StartupError, match=r"fails with 2 rows in a call: boom; .*\"batch_size\""):
        measure(Fails(lambda batch: len(batch.chunks) > 1))
    with pytest.raises(StartupError, match="fails cut in pieces: boom"):
        measure(Fails(lambda batch: is_cut(batch, 0) and len(batch.chunks) == 1), budgets=NONE)


def test_numbers_that_a_graph_refuses_are_not_tried() -> None:
    class Domain(ExactEngine):
        def run(self, batch: Batch) -> list[Result]:
            if any((chunk.sequence.inputs[0] < 1).any() for chunk in batch.chunks):
                error = InternalError("not a number")
                return [Result(*result[:2], error=error) for result in super().run(batch)]
            return super().run(batch)

    assert measure(Domain()) == Measurement(0.0, ragged=True, max_rows=20)


def test_a_graph_that_cannot_be_cut_is_tried_in_batches_only() -> None:
    engine = ExactEngine()
    assert measure(engine, causal=False).difference == 0
    assert not any(chunk.start for batch in engine.batches for chunk in batch.chunks)
    assert max(len(batch.chunks) for batch in engine.batches) == BATCHING.max_batch


def test_whole_sequences_are_tried_at_the_examples_length_and_another() -> None:
    """A convolution needs some steps; a table of positions has no more than some."""

    class Bounded(ExactEngine):
        least, most = 7, 99

        def run(self, batch: Batch) -> list[Result]:
            if not self.least <= batch.steps <= self.most:
                raise RuntimeError("boom")
            return super().run(batch)

    for least, most, expected in ((7, 99, {7, 12}), (1, 7, {6, 7})):
        engine = Bounded()
        engine.least, engine.most = least, most
        measure(engine, causal=False)
        assert {batch.steps for batch in engine.batches} == expected
    engine = Bounded()
    engine.most = 7
    with pytest.raises(StartupError, match=r"fails with 6 or 12 steps: boom; .*\"time_size\""):
        measure(engine, causal=False)


def test_a_window_is_tried_at_its_own_length() -> None:
    engine = ExactEngine()
    measure(engine, causal=False, lengths=None, axes={"time_size": 7})
    assert {batch.steps for batch in engine.batches} == {7}


def test_a_batch_axis_that_a_state_lacks_is_refused() -> None:
    states = [{"input": "h", "output": "h_out", "shape": [1], "dtype": "float64"}]
    with pytest.raises(StartupError, match="axis 0 is the batch, but state 'h' has no batch axis"):
        measure(ExactEngine(), states=states, axes={"time": None}, lengths=None)
