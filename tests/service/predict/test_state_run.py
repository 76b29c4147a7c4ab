"""A conversation whose state the client keeps, in the place of a session."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidState, ReplyTooLarge, SessionNotSupported, StateSecretMissing
from service.manifest import Manifest
from service.predict import Generator
from service.sequence import Result, Sequence
from service.sessions import StateTokens
from tests.service.predict.parts import (
    LETTERS,
    SPEAKERS,
    SUMS,
    LetterSums,
    Parts,
    SessionSums,
    SpeakerSums,
    run,
)

TWO = [[1.0], [2.0]]
MORE = {"input": "h", "output": "h_out", "shape": ["batch", 20_000]}
LARGE = Manifest.model_validate(SUMS.model_dump() | {"states": [*SUMS.model_dump()["states"], MORE]})


class LargeSums(SessionSums):
    """Sums, with a second state of 80 kB that stays as it is."""

    def __init__(self) -> None:
        super().__init__(LARGE)

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        output, (total,), *_ = super()._step(sequence, start, stop)
        return Result(output, (total.astype(np.float32), sequence.state[1]))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-99, 99).map(float), min_size=1, max_size=12), st.data())
def test_any_cut_of_a_sequence_into_requests_equals_one_shot(
    values: list[float], data: st.DataObject
) -> None:
    """Each piece is answered by another server, and none of them stores anything."""
    ends = sorted(data.draw(st.sets(st.integers(1, len(values)))) | {len(values)})

    async def body() -> None:
        servers = [Parts() for _ in range(3)]
        rows = [[value] for value in values]
        (whole,) = await servers[0].predict(rows, **{"return": "all"}, return_state=True)
        outputs, token, begin = [], None, 0
        for number, end in enumerate(ends):
            sequence = {"steps": rows[begin:end], "state": token}
            (answer,) = await servers[number % 3].predict(sequence, **{"return": "all"}, return_state=True)
            assert answer["step"] == end
            outputs += answer["output"]
            token, begin = answer["state"], end
        assert outputs == whole["output"] and token == whole["state"]
        assert [await server.store.scan(b"", b"", 9) for server in servers] == [[], [], []]

    run(body)


def test_a_request_without_either_field_answers_as_before() -> None:
    async def body() -> None:
        parts = Parts()
        (plain,) = await parts.predict(TWO)
        (first,) = await parts.predict(TWO, return_state=True)
        assert plain == {"output": [3.0]} and set(first) == {"output", "step", "state"}
        (last,) = await parts.predict({"steps": TWO, "state": first["state"]})
        assert last == {"output": [6.0]}
        (null,) = await parts.predict({"steps": TWO, "state": None}, return_state=False)
        assert null == plain

    run(body)


def test_sequences_of_one_request_continue_apart() -> None:
    async def body() -> None:
        parts = Parts()
        one, two = await parts.predict(TWO, [[5.0]], return_state=True)
        again = await parts.predict(
            {"steps": [[1.0]], "state": two["state"]},
            {"steps": [[1.0]], "state": one["state"]},
            {"steps": [[1.0]], "state": one["state"][:-1]},
            return_state=True,
        )
        assert [(a["output"], a["step"]) for a in again[:2]] == [([6.0], 2), ([4.0], 3)]
        assert (again[2]["error"]["code"], again[2]["error"]["pointer"]) == (
            "invalid_state",
            "/sequences/2/state",
        )

    run(body)


def test_a_request_that_is_sent_again_gets_the_same_answer_and_token() -> None:
    async def body() -> None:
        parts = Parts()
        (first,) = await parts.predict(TWO, return_state=True)
        sequence = {"steps": TWO, "state": first["state"]}
        answers = [await parts.predict(sequence, return_state=True) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]

    run(body)


def test_the_reply_names_the_step_and_the_version() -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        (first,) = await parts.predict(TWO, version="1", return_state=True)
        request = {"sequences": [{"steps": TWO, "state": first["state"]}]}
        reply = await parts.predictor.predict(orjson.dumps(request))
        assert (reply.version, reply.step, reply.steps) == ("1", 4, 2)
        assert len(parts.engines["1"].batches) == 2 and not parts.engines["2"].batches

    run(body)


def test_inputs_without_a_time_axis_travel_with_the_state() -> None:
    async def body() -> None:
        parts = Parts(engine=SpeakerSums, manifest=SPEAKERS)
        (first,) = await parts.predict({"steps": {"x": [[1.0]], "speaker": [1.5, 2.5]}}, return_state=True)
        assert first["output"] == [[5.0]]
        (second,) = await parts.predict({"steps": {"x": [[2.0]]}, "state": first["state"]}, return_state=True)
        same = {"steps": {"x": [[2.0]], "speaker": [1.5, 2.5]}, "state": first["state"]}
        assert second["output"] == [[7.0]] and await parts.predict(same, return_state=True) == [second]
        other, ok = {"steps": {"x": [[2.0]], "speaker": [0, 0]}, "state": first["state"]}, same
        refused, _ = await parts.predict(other, ok)
        assert (
            refused["error"]["code"] == "invalid_field" and "'speaker' differs" in refused["error"]["detail"]
        )

    run(body)


@pytest.mark.parametrize(
    ("changes", "message"), [({"states": []}, "has no state"), ({"causal": False}, "from both ends")]
)
def test_a_model_that_needs_the_whole_sequence_has_no_tokens(changes: dict[str, Any], message: str) -> None:
    async def body() -> None:
        manifest = Manifest.model_validate(SUMS.model_dump() | changes)
        parts = Parts(manifest=manifest)
        with pytest.raises(SessionNotSupported, match=message) as raised:
            await parts.predict(TWO, return_state=True)
        assert raised.value.pointer == "/return_state"
        with pytest.raises(SessionNotSupported, match=message) as raised:
            await parts.predict({"steps": TWO, "state": "AQ"})
        assert raised.value.pointer == "/sequences/0/state"

    run(body)


def test_tokens_count_among_the_bytes_of_a_reply() -> None:
    async def body() -> None:
        parts = Parts()
        parts.predictor.max_reply_bytes = 800
        assert await parts.predict(TWO, return_state=True)
        with pytest.raises(ReplyTooLarge):
            parts.predictor.max_reply_bytes = 700
            await parts.predict(TWO, return_state=True)
        assert await parts.predict(TWO)

    run(body)


def test_a_large_state_is_read_and_written_aside() -> None:
    async def body() -> None:
        parts = Parts(engine=LargeSums, manifest=LARGE)
        (first,) = await parts.predict(TWO, return_state=True)
        (second,) = await parts.predict({"steps": TWO, "state": first["state"]}, return_state=True)
        assert second["output"] == [6.0] and len(second["state"]) > 100_000

    run(body)


def test_with_keys_and_without_a_secret_nothing_is_computed() -> None:
    async def body() -> None:
        parts = Parts(tokens=StateTokens(needs_secret=True))
        cases: list[tuple[Any, dict[str, Any], str]] = [
            (TWO, {"return_state": True}, "/return_state"),
            ({"steps": TWO, "state": "AQ"}, {}, "/sequences/0/state"),
        ]
        for sequence, fields, pointer in cases:
            with pytest.raises(StateSecretMissing) as raised:
                await parts.predict(sequence, **fields)
            assert raised.value.pointer == pointer
        assert not parts.engines["1"].batches and await parts.predict(TWO)

    run(body)


def test_a_text_is_continued_from_a_token() -> None:
    async def body() -> None:
        parts = Parts(engine=LetterSums, manifest=LETTERS, tokens=StateTokens([b"s" * 32]))
        generator = Generator(parts.predictor)

        async def generate(**fields: Any) -> dict[str, Any]:
            reply = await generator.generate(orjson.dumps({"seed": 1} | fields), tenant="acme")
            answer: dict[str, Any] = orjson.loads(reply.body)
            return answer

        first = await generate(prompt=["b"], max_steps=2, return_state=True)
        in_session = [await generate(prompt=["b"], max_steps=2, session="s") for _ in range(2)]
        second = await generate(prompt=["b"], max_steps=2, state=first["state"], return_state=True)
        assert [first["ids"], second["ids"]] == [answer["ids"] for answer in in_session]
        assert (first["step"], second["step"]) == (3, 6)
        with pytest.raises(InvalidState) as raised:
            await generate(prompt=["b"], max_steps=1, state=second["state"][:-1])
        assert raised.value.pointer == "/state"
        parts.predictor.max_reply_bytes = 700
        await generate(prompt=["b"], max_steps=1)
        with pytest.raises(ReplyTooLarge):
            await generate(prompt=["b"], max_steps=1, return_state=True)

    asyncio.run(body())
