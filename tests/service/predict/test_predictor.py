"""`/predict` around an engine that sums: stateless, in sessions, one bad sequence among many."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest

from service.codec.request import Item
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    InternalError,
    InvalidField,
    ReplyTooLarge,
    TooManySequences,
    UnknownModel,
    UnknownVersion,
)
from service.manifest import Manifest
from service.predict.predictor import STARTED_AT_ONCE
from service.predict.request import Request
from tests.service.predict.parts import SUMS, Parts, run

ONES = [[1.0]] * 5


def test_sequences_of_any_lengths_are_answered_in_order() -> None:
    async def body() -> None:
        parts = Parts()
        answers = await parts.predict(ONES, [[2.0]], ONES + ONES)
        assert [answer["output"] for answer in answers] == [[5.0], [2.0], [10.0]]

    run(body)


def test_the_reply_counts_what_was_computed() -> None:
    async def body() -> None:
        parts = Parts()
        reply = await parts.predictor.predict(orjson.dumps({"model": "m", "sequences": [ONES, [[1.0]]]}))
        assert (reply.model, reply.version, reply.sequences, reply.steps) == ("m", "1", 2, 6)
        assert reply.json_length is None

    run(body)


def test_every_step_is_returned_on_request() -> None:
    async def body() -> None:
        (answer,) = await Parts().predict(ONES[:3], **{"return": "all"})
        assert answer["output"] == [[1.0], [2.0], [3.0]]

    run(body)


def test_a_bad_sequence_among_many_fails_alone_and_points_at_itself() -> None:
    async def body() -> None:
        good, bad, failed = await Parts().predict(ONES, [[True]], {"steps": ONES, "session": "s", "at": 3})
        assert good["output"] == [5.0]
        assert (bad["error"]["code"], bad["error"]["pointer"]) == ("invalid_field", "/sequences/1/0/0")
        assert (failed["error"]["code"], failed["error"]["pointer"]) == ("unknown_session", "/sequences/2")

    run(body)


def test_the_error_of_a_single_sequence_is_raised() -> None:
    async def body() -> None:
        parts = Parts()
        parts.engines["1"].fail_on = 7.0
        with pytest.raises(InternalError) as raised:
            await parts.predict([[7.0]])
        assert raised.value.pointer == "/sequences/0"
        (answer,) = await parts.predict(ONES)
        assert answer["output"] == [5.0], "and the next request is answered"

    run(body)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "z"}, UnknownModel),
        ({"version": "9"}, UnknownVersion),
        ({"sequences": [ONES] * 5}, TooManySequences),
    ],
)
def test_a_request_that_no_model_can_answer_is_refused(
    fields: dict[str, Any], kind: type[CellgateError]
) -> None:
    async def body() -> None:
        with pytest.raises(kind):
            await Parts().predictor.predict(orjson.dumps({"sequences": [ONES]} | fields))

    run(body)


def test_the_output_of_every_step_cannot_be_had_from_a_graph_that_keeps_the_last() -> None:
    last = SUMS.model_dump(mode="json")
    last["outputs"][0]["steps"] = "last"

    async def body() -> None:
        parts = Parts(manifest=Manifest.model_validate(last))
        with pytest.raises(InvalidField) as raised:
            await parts.predict(ONES, **{"return": "all"})
        assert raised.value.pointer == "/return"

    run(body)


def test_a_client_may_shorten_the_deadline_but_not_extend_it() -> None:
    async def body() -> None:
        parts = Parts()
        request = Request(parts.repository.get(), 1, _decode, _encode)
        with pytest.raises(DeadlineExceeded):
            await parts.predictor.start(request, timeout_s=-1).answer(0)
        now = asyncio.get_running_loop().time()
        assert parts.predictor.start(request, timeout_s=1e9).origin.deadline <= now + 11

    run(body)


def test_all_sequences_of_a_request_are_computed_together_or_the_first_error_is_raised() -> None:
    async def body() -> None:
        parts = Parts()
        request = Request(parts.repository.get(), 3, _decode, _encode, returns="all")
        computing = parts.predictor.start(request)
        sequences = await computing.compute_all()
        assert [sequence.output().tolist() for sequence in sequences] == [[[1.0], [2.0]]] * 3
        assert computing.steps == 6
        parts.engines["1"].fail_on = 1.0
        with pytest.raises(InternalError):
            await parts.predictor.start(request).compute_all()

    run(body)


def _decode(_index: int, _manifest: Manifest) -> Item:
    return Item((np.ones((2, 1), np.float32),))


def _encode(*_: object, **__: object) -> bytes:
    return b"encoded"


@pytest.mark.parametrize("returns", ["last", "all"])
def test_what_the_reply_has_no_room_for_is_not_computed(returns: str) -> None:
    """A few token ids led to gigabytes: of each step, as many numbers as the vocabulary has words."""

    async def body() -> None:
        parts = Parts()
        parts.predictor.max_reply_bytes = 1200
        rows = [{"steps": [[1]], "session": name} for name in "abcd"]
        answers = await parts.predict(*rows, **{"return": returns})
        assert [answer.get("step") for answer in answers] == [1, 1, None, None]
        assert {answer["error"]["code"] for answer in answers[2:]} == {"reply_too_large"}
        assert [answer["error"]["pointer"] for answer in answers[2:]] == ["/sequences/2", "/sequences/3"]
        parts.predictor.max_reply_bytes = 600
        with pytest.raises(ReplyTooLarge, match="could have 872 bytes, the maximum is 600"):
            await parts.predict([[1]] * 20, **{"return": "all"})
        assert len(await parts.predict([[1]] * 20, **{"return": "last"})) == 1
        computed = [chunk.steps for batch in parts.engines["1"].batches for chunk in batch.chunks]
        assert sum(computed) == 22

    run(body)


def test_a_request_starts_its_sequences_in_parts() -> None:
    """Thousands of them, started in one turn of the event loop, would delay all others."""

    async def body() -> None:
        parts = Parts()
        parts.predictor.max_sequences = 3 * STARTED_AT_ONCE
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        answers = await parts.predict(*[[[]]] * parts.predictor.max_sequences)
        counting.cancel()
        assert {answer["error"]["code"] for answer in answers} == {"wrong_shape"} and turns >= 3

    run(body)
