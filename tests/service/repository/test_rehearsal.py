"""The example is compared with the expected answer; calls are timed for the cost model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine import Cost, Outcome
from service.errors import StartupError
from service.manifest import Manifest
from service.repository.rehearsal import CALIBRATE_BATCHES, CALIBRATE_STEPS, Rehearsal
from service.sequence import Batch, Result
from service.state import StateLayout
from tests.service.fakes import SumEngine

FOLDER = Path("models/sum/1")
STEPS = [[float(step)] for step in range(7)]


def manifest(**fields: Any) -> Manifest:
    """What `SumEngine` computes: the running sum of one number."""
    defaults: dict[str, Any] = {
        "task": "label",
        "inputs": [{"name": "x", "dims": [1]}],
        "outputs": [{"name": "y", "dims": [1]}],
        "states": [{"input": "h", "output": "h_out", "shape": ["batch", 1]}],
        "lengths": "lengths",
        "example": {"steps": STEPS, "output": [21.0]},
    }
    return Manifest.model_validate(defaults | fields)


def rehearsal(**fields: Any) -> Rehearsal:
    described = manifest(**fields)
    initial = StateLayout(described.states, described.kept_inputs).initial()
    return Rehearsal(described, initial, FOLDER)


def test_the_example_is_run_in_one_shot() -> None:
    engine = SumEngine()
    rehearsal().check(engine)
    rehearsal(causal=False).check(engine)
    assert [(len(batch.chunks), batch.steps) for batch in engine.batches] == [(1, 7), (1, 7)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"example": None}, "models/sum/1/model.json: an example is needed"),
        (
            {"example": {"steps": STEPS, "output": [20.0]}},
            "the example gives [21.0], the manifest expects [20.0]",
        ),
        ({"example": {"steps": STEPS, "output": [21.0, 0.0]}}, "the manifest expects [21.0, 0.0]"),
        ({"example": {"steps": [[1.0, 2.0]], "output": [1.0]}}, "the example cannot be read: "),
    ],
)
def test_an_example_that_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as refused:
        rehearsal(**fields).check(SumEngine())
    assert message in refused.value.detail and "models/sum/1" in refused.value.detail


def test_an_answer_within_the_tolerance_is_accepted() -> None:
    example = {"steps": STEPS, "output": [21.4], "tolerance": 0.5}
    rehearsal(example=example).check(SumEngine())


class NanEngine(SumEngine):
    """Answers NaN at the last step."""

    def run(self, batch: Batch) -> list[Result]:
        return [Result(result.output * np.nan, result.state) for result in super().run(batch)]


def test_nan_passes_no_comparison_unless_it_is_allowed_and_expected() -> None:
    """An example whose answer is 0/0 was served as exact: no difference from NaN exceeds a tolerance."""
    example = {"steps": STEPS, "output": [21.0]}
    for fields in ({}, {"non_finite": "allow"}, {"example": example | {"output": [None]}}):
        with pytest.raises(StartupError, match=r"the example gives \[nan\]"):
            rehearsal(**fields).check(NanEngine())
    rehearsal(example=example | {"output": [None]}, non_finite="allow").check(NanEngine())


def test_the_example_gives_the_inputs_without_a_time_axis() -> None:
    inputs = [{"name": "x", "dims": [1]}, {"name": "speaker", "dims": [2], "per": "sequence"}]
    example = {"steps": {"x": STEPS, "speaker": [3, 4]}, "output": [21.0]}
    _, given, state = rehearsal(inputs=inputs, example=example).read_example()
    assert given[0].shape == (7, 1) and state[-1].tolist() == [3, 4]
    with pytest.raises(StartupError, match="speaker"):
        rehearsal(inputs=inputs, example=example | {"steps": {"x": STEPS}}).read_example()


def test_an_engine_that_fails_is_reported_with_the_folder() -> None:
    engine = SumEngine()
    engine.fail_on = 3.0
    with pytest.raises(StartupError, match="models/sum/1: the graph fails on its example: boom"):
        rehearsal().check(engine)


class Clocked:
    """Runs calls that seem to take the seconds that a test names."""

    def __init__(self, seconds: Callable[[Batch], float]) -> None:
        self.seconds = seconds
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, batch: Batch) -> Outcome:
        self.sizes.append((len(batch.chunks), batch.steps))
        return Outcome([], self.seconds(batch))


def test_a_few_sizes_of_call_are_timed_for_the_cost_model() -> None:
    cost = Cost()
    run = Clocked(lambda batch: 1e-4 + batch.steps * (1e-5 + len(batch.chunks) * 1e-6))
    rehearsal().calibrate(cost, run)
    expected = [(rows, steps) for steps in CALIBRATE_STEPS for rows in CALIBRATE_BATCHES]
    assert run.sizes == [size for size in expected for _ in range(2)], "the first of each size is not counted"
    assert cost.predict(16, 8) == pytest.approx(1e-4 + 8 * 2.6e-5, rel=0.01)


def test_only_sizes_that_the_graph_takes_are_timed() -> None:
    run = Clocked(lambda _: 1e-3)
    rehearsal(axes={"batch_size": 1}).calibrate(Cost(), run)
    assert {rows for rows, _ in run.sizes} == {1}
    for fields in ({"causal": False}, {"axes": {"time": None}}, {"axes": {"time_size": 4}}):
        run = Clocked(lambda _: 1e-3)
        rehearsal(**fields).calibrate(Cost(), run)
        assert run.sizes == [], "its chunks have no choice of length"


def test_the_shortest_of_some_trials_counts_but_the_first() -> None:
    seconds = iter([0.1, 5.0, 3.0, 4.0])
    assert rehearsal().seconds(Clocked(lambda _: next(seconds)), 2, 16) == 3.0


def test_a_timed_call_that_fails_is_reported_with_the_folder() -> None:
    def fail(_: Batch) -> Outcome:
        return Outcome(RuntimeError("no such kernel"), 0.0)

    for time in (
        lambda: rehearsal().seconds(fail, 1, 16),
        lambda: rehearsal().calibrate(Cost(), fail),
    ):
        with pytest.raises(StartupError, match="sum/1: the graph fails on its example: no such kernel"):
            time()
