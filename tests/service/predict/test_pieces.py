"""A request that is computed in pieces: the same answer, and the states within it."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.predict import Generator, OpenInference
from service.sessions import HistoryRule, Record, Resources
from tests.service.predict.parts import LETTERS, SPEAKERS, LetterSums, Parts, SessionSums, SpeakerSums, run

VALUES = [[float(value)] for value in range(1, 13)]
SUMS_AFTER = np.cumsum([0, *range(1, 13)])


async def started(parts: Parts, rule: HistoryRule) -> Resources:
    """A session `s` that keeps its past, at step 0."""
    resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
    await resources.create("", "s", history=rule)
    return resources


def kept(record: Record) -> dict[int, float]:
    """The sums in the checkpoints, by step."""
    assert record.history is not None
    return {step: float(np.frombuffer(state, np.float32)[0]) for step, state in record.history.checkpoints}


@pytest.mark.parametrize("cuts", [[12], [5, 7], [1] * 12, [4, 4, 4]], ids=str)
def test_the_states_at_multiples_are_kept_however_the_sequence_is_cut(cuts: list[int]) -> None:
    async def body() -> None:
        parts = Parts()
        resources = await started(parts, HistoryRule(3, 4))
        at = 0
        for steps in cuts:
            (answer,) = await parts.predict({"steps": VALUES[at : at + steps], "session": "s", "at": at})
            at += steps
        assert (answer["output"], answer["step"]) == ([78.0], 12)
        record = await resources.read("", "s")
        assert kept(record) == {step: SUMS_AFTER[step] for step in (0, 4, 8)}

    run(body)


def test_only_the_last_multiples_cost_a_call() -> None:
    async def body() -> None:
        parts = Parts()
        resources = await started(parts, HistoryRule(2, 1))
        await parts.predict({"steps": VALUES, "session": "s"})
        assert kept(await resources.read("", "s")) == {10: 55, 11: 66}
        lengths = [chunk.steps for batch in parts.engines["1"].batches for chunk in batch.chunks]
        assert sum(lengths) == 12 and lengths.count(1) == 2

    run(body)


def test_every_step_of_every_output_is_there() -> None:
    async def body() -> None:
        whole, pieces = (Parts(engine=SpeakerSums, manifest=SPEAKERS) for _ in range(2))
        await started(pieces, HistoryRule(9, 5))
        steps = {"x": VALUES, "speaker": [1, 2]}
        fields: dict[str, Any] = {"outputs": ["count", "y", "odds", "total"], "return": "all"}
        answers = [
            await parts.predict({"steps": steps, "session": "s"}, **fields) for parts in (whole, pieces)
        ]
        assert answers[0] == answers[1]
        (answer,) = answers[1]
        assert [len(answer["outputs"][name]) for name in ("y", "count", "odds")] == [12, 12, 12]

    run(body)


def test_a_generated_text_is_kept_between_requests_only() -> None:
    async def body() -> None:
        parts = Parts(engine=LetterSums, manifest=LETTERS)
        resources = await started(parts, HistoryRule(9, 2))
        for _ in range(2):
            await Generator(parts.predictor).generate(
                orjson.dumps({"prompt": ["a", "b"], "max_steps": 3, "session": "s"})
            )
        record = await resources.read("", "s")
        assert (record.step, list(kept(record))) == (10, [0, 5])

    run(body)


def test_a_model_with_windows_stops_where_one_ends() -> None:
    async def body() -> None:
        manifest = LETTERS.model_validate(
            {
                "task": "forecast",
                "inputs": [{"name": "x", "dims": [1]}],
                "axes": {"time_size": 4},
                "states": [{"input": "sum", "output": "sum_out", "shape": ["batch", 1]}],
                "outputs": [{"name": "y", "dims": [1]}],
            }
        )
        parts = Parts(engine=SessionSums, manifest=manifest)
        resources = await started(parts, HistoryRule(9, 2))
        await parts.predict({"steps": VALUES, "session": "s"})
        assert kept(await resources.read("", "s")) == {0: 0, 4: 10, 8: 36}

    run(body)


@pytest.mark.parametrize("returns", ["last", "all"])
def test_a_sequence_of_v2_is_kept_at_multiples_too(returns: str) -> None:
    async def infer(parts: Parts) -> bytes:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 12, 1], "data": [VALUES]}
        parameters = {"sequence_id": 7, "return": returns}
        body = orjson.dumps({"inputs": [x], "parameters": parameters})
        return (await OpenInference(parts.predictor).infer("m", None, {}, body, "")).body

    async def body() -> None:
        whole, pieces = Parts(), Parts()
        for parts, rule in ((whole, None), (pieces, HistoryRule(9, 5))):
            resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
            await resources.create("", "v2/m/7", history=rule)
        assert await infer(pieces) == await infer(whole)
        record = await Resources(pieces.sessions, pieces.repository.get, max_ttl_s=60).read("", "v2/m/7")
        assert kept(record) == {0: 0, 5: 15, 10: 55}

    run(body)
