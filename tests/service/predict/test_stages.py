"""Which stages each kind of request takes, and that no time is in two of them.

Nothing is timed here: each test compares readings of one clock that never goes back.
"""

import asyncio
import threading
from collections.abc import Awaitable
from time import perf_counter

import numpy as np
import orjson
import pytest

from service.predict import Generator, OpenInference, Reply
from service.predict.aside import LARGE_BODY
from service.sequence import Batch, Result
from service.sessions import Record
from service.stages import STAGES, Stages
from tests.service.predict.parts import LETTERS, LetterSums, Parts, SessionSums, run

ONES = [[1.0]] * 5


async def measured(answering: Awaitable[Reply]) -> dict[str, float]:
    """The seconds of each stage; all together are not more than the request took."""
    started = perf_counter()
    stages = (await answering).stages
    elapsed = perf_counter() - started
    assert isinstance(stages, Stages)
    taken = {name: getattr(stages, f"{name}_s") for name in STAGES}
    rounding = 1e-9
    assert all(seconds >= 0 for seconds in taken.values()), taken
    assert sum(taken.values()) <= elapsed + rounding
    return taken


def predict(parts: Parts, *sequences: object) -> Awaitable[Reply]:
    return parts.predictor.predict(orjson.dumps({"sequences": sequences}))


@pytest.mark.parametrize("padding", [0, LARGE_BODY])
def test_a_sequence_without_a_session_commits_nothing(padding: int) -> None:
    async def body() -> None:
        parts = Parts()
        document = orjson.dumps({"sequences": [ONES]}) + b" " * padding
        taken = await measured(parts.predictor.predict(document))
        assert taken.pop("commit") == 0
        assert all(taken.values()), taken

    run(body)


def test_a_step_of_a_session_takes_every_stage_and_a_retry_computes_nothing() -> None:
    async def body() -> None:
        parts = Parts()
        step = {"steps": ONES, "session": "s", "at": 0}
        assert all((await measured(predict(parts, step))).values())
        retry = await measured(predict(parts, step))
        assert retry["run"] == 0 and retry["commit"] > 0

    run(body)


def test_generation_and_tensors_are_measured_too() -> None:
    async def body() -> None:
        letters = Parts(engine=LetterSums, manifest=LETTERS)
        for session in ("", ',"session":"s"'):
            text = b'{"prompt":["a","b"],"max_steps":3%b}' % session.encode()
            taken = await measured(Generator(letters.predictor).generate(text))
            assert bool(taken.pop("commit")) is bool(session) and all(taken.values())
        infer = OpenInference(Parts().predictor).infer
        for parameters in ({}, {"sequence_id": 7}):
            x = {"name": "x", "datatype": "FP32", "shape": [1, 2, 1], "data": [1, 2]}
            tensors = orjson.dumps({"inputs": [x], "parameters": parameters | {"sequence_start": True}})
            if not parameters:
                tensors = orjson.dumps({"inputs": [x]})
            taken = await measured(infer("m", None, {}, tensors))
            assert bool(taken.pop("commit")) is bool(parameters) and all(taken.values())

    run(body)


class Slow(SessionSums):
    """Notes the seconds that pass while calls wait in it for a gate."""

    waited = 0.0

    def run(self, batch: Batch) -> list[Result]:
        started = perf_counter()
        if (batch.chunks[0].sequence.inputs[0] == 9).any():
            threading.Event().wait(0.01)
        results = super().run(batch)
        self.waited += perf_counter() - started
        return results


def test_the_run_of_a_sequence_is_the_time_in_the_calls_that_it_took_part_in() -> None:
    async def body() -> None:
        parts = Parts(engine=Slow)
        taken = await measured(predict(parts, [[9.0]] * 5))  # three calls of at most two steps
        assert taken["run"] >= parts.engines["1"].waited >= 0.03  # type: ignore[attr-defined]

    run(body)


def test_waiting_for_the_sessions_turn_is_queueing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("service.stages.perf_counter", lambda: now)

    async def body() -> None:
        nonlocal now
        parts, released = Parts(), asyncio.Event()
        find = parts.store.get

        async def held(key: bytes) -> Record | None:
            await released.wait()
            return await find(key)

        monkeypatch.setattr(parts.store, "get", held)
        step = {"steps": ONES, "session": "s"}
        asked = [asyncio.ensure_future(predict(parts, step)) for _ in range(2)]
        for _ in range(10):
            await asyncio.sleep(0)
        now = 100.0  # the first reads the session meanwhile, and the second waits for it
        released.set()
        first, second = [reply.stages for reply in await asyncio.gather(*asked)]
        assert first and second
        assert first.commit_s == 100 and round(first.queue_s) == 0
        assert second.commit_s == 0 and round(second.queue_s) == 100

    run(body)


def test_the_sequences_of_a_request_are_merged() -> None:
    async def body() -> None:
        sequences = [ONES, {"steps": ONES, "session": "s"}, [[True]], np.ones((7, 1)).tolist()]
        stages = (await predict(Parts(), *sequences)).stages
        assert stages and stages.commit_s > 0 and stages.run_s > 0 and stages.encode_s > 0

    run(body)


def test_a_sequence_that_fails_among_many_has_encoded_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("service.stages.perf_counter", lambda: now)

    async def body() -> None:
        nonlocal now
        parts = Parts()
        parts.engines["1"].gate = threading.Event()
        asked = asyncio.ensure_future(predict(parts, ONES, {"steps": ONES, "session": "s", "at": 3}))
        parts.engines["1"].fail_on = 1.0
        parts.engines["1"].gate.set()
        for _ in range(3):
            await asyncio.sleep(0)
        now = 100.0
        stages = (await asked).stages
        assert stages and stages.encode_s == 0 and round(stages.queue_s) == 100

    run(body)
