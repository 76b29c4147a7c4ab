"""Where a sequence begins: the version and the step that its token names, with a session or without."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.errors import (
    CellgateError,
    InvalidField,
    InvalidState,
    ModelLoading,
    NonFinite,
    SessionConflict,
    SessionExists,
    StateMismatch,
)
from service.manifest import Manifest
from service.sequence import State
from service.sessions import Binding, Resources, StateToken, StateTokens
from tests.service.predict.parts import SPEAKERS, SUMS, Parts, SpeakerSums, run

TWO = [[1.0], [2.0]]
BINDING = Binding("m", "1", b"graph--1")
FOUR = np.float32(4).tobytes()


def token(state: bytes = FOUR, step: int = 9, *, binding: Binding = BINDING, tenant: str = "") -> str:
    """One that a client has forged, or kept: without a secret, they are the same."""
    return StateTokens().write(tenant, StateToken(binding, step, state))


async def refusal(parts: Parts, state: str, **fields: Any) -> CellgateError:
    with pytest.raises(CellgateError) as raised:
        await parts.predict({"steps": TWO, "state": state}, **fields)
    assert raised.value.pointer == "/sequences/0/state"
    return raised.value


@pytest.mark.parametrize(
    ("binding", "version", "reason"),
    [
        (Binding("other", "1", b"graph--1"), None, "model"),
        (Binding("m", "2", b"graph--2"), "1", "version"),
        (Binding("m", "1", b"graph--2"), None, "graph"),
        (Binding("m", "2", b"graph--1"), None, "graph"),
    ],
)
def test_a_token_of_another_model_version_or_graph_is_a_conflict(
    binding: Binding, version: str | None, reason: str
) -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        error = await refusal(parts, token(binding=binding), version=version)
        assert isinstance(error, StateMismatch)
        assert error.members == {"reason": reason, "model": binding.model, "version": binding.version}
        assert not parts.engines["1"].batches

    run(body)


def test_a_version_that_is_not_loaded_is_a_conflict_or_is_being_loaded() -> None:
    async def body() -> None:
        parts = Parts("2")
        older = await refusal(parts, token())
        assert isinstance(older, StateMismatch) and "version 1, which is not loaded" in older.detail
        with pytest.raises(ModelLoading, match="version 3, which is not loaded yet"):
            await parts.predict({"steps": TWO, "state": token(binding=Binding("m", "3", bytes(8)))})

    run(body)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (bytes(3), InvalidState, "the state has 3 bytes, its tensors 4"),
        (b"", InvalidState, "the state has 0 bytes"),
        (np.float32(np.nan).tobytes(), NonFinite, "'sum' contains NaN"),
        (np.float32(np.inf).tobytes(), NonFinite, "'sum' contains NaN or an infinity"),
    ],
)
def test_a_state_that_no_server_wrote_is_refused(
    state: bytes, error: type[CellgateError], message: str
) -> None:
    async def body() -> None:
        raised = await refusal(Parts(), token(state))
        assert isinstance(raised, error) and message in raised.detail

    run(body)


def test_a_token_larger_than_any_state_here_is_refused_before_it_is_decoded() -> None:
    async def body() -> None:
        raised = await refusal(Parts(), "!" * 500)
        assert isinstance(raised, InvalidState) and "has 500 characters" in raised.detail

    run(body)


def test_a_model_that_may_answer_nan_takes_its_state_back() -> None:
    async def body() -> None:
        parts = Parts(manifest=Manifest.model_validate(SUMS.model_dump() | {"non_finite": "allow"}))
        (answer,) = await parts.predict({"steps": TWO, "state": token(np.float32(np.nan).tobytes())})
        assert answer["output"] == [None]

    run(body)


def test_a_session_begins_from_a_token_once() -> None:
    async def body() -> None:
        parts = Parts()
        first = {"steps": TWO, "session": "s", "state": token()}
        answer = await parts.predict(first)
        assert answer == [{"output": [7.0], "session": "s", "step": 11}]
        num_calls = len(parts.engines["1"].batches)
        assert await parts.predict(first) == await parts.predict(first | {"at": 9}) == answer
        assert len(parts.engines["1"].batches) == num_calls, "a retry gets the stored reply"
        with pytest.raises(SessionExists, match="the session is live, at step 11"):
            await parts.predict(first | {"state": token(step=10)})
        (next_answer,) = await parts.predict({"steps": TWO, "session": "s", "at": 11})
        assert (next_answer["output"], next_answer["step"]) == ([10.0], 13)
        with pytest.raises(SessionExists):
            await parts.predict(first)
        with pytest.raises(SessionConflict, match="starts at step 9, the request says 0"):
            await parts.predict(first | {"session": "t", "at": 0})

    run(body)


def test_a_session_answers_with_tokens_and_a_retry_with_the_same_one() -> None:
    async def body() -> None:
        parts = Parts()
        item = {"steps": TWO, "session": "s", "at": 0}
        (first,) = await parts.predict(item, return_state=True)
        assert [first] == await parts.predict(item, return_state=True)
        with pytest.raises(SessionConflict):
            await parts.predict(item)  # without the state it is another request
        (ended,) = await parts.predict(
            {"steps": TWO, "session": "s", "at": 2, "end": True}, return_state=True
        )
        (alone,) = await parts.predict({"steps": TWO, "state": first["state"]}, return_state=True)
        assert (ended["state"], ended["step"]) == (alone["state"], alone["step"])

    run(body)


def test_a_session_from_a_token_stays_on_the_tokens_version() -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        first = {"steps": TWO, "session": "s", "state": token()}
        await parts.predict(first)
        await parts.predict({"steps": TWO, "session": "s"})
        assert len(parts.engines["1"].batches) == 2 and not parts.engines["2"].batches
        with pytest.raises(StateMismatch):
            await parts.predict(first | {"session": "t"}, version="2")

    run(body)


def with_states(**states: State) -> Parts:
    parts = Parts("1", "2")
    for model in list(parts.repository):
        parts.repository.add(replace(model, states=states if model.version == "2" else {}))
    return parts


def test_a_sequence_begins_from_a_named_state_in_a_session_or_without() -> None:
    async def body() -> None:
        parts = with_states(warm=(np.array([100], np.float32),))
        item = {"steps": TWO, "state": {"name": "warm"}}
        (alone,) = await parts.predict(item, return_state=True)
        assert (alone["output"], alone["step"]) == ([103.0], 2)
        first = await parts.predict(item | {"session": "s", "at": 0})
        assert first == await parts.predict(item | {"session": "s", "at": 0})
        (answer,) = await parts.predict({"steps": TWO, "session": "s", "at": 2})
        assert (first[0]["output"], answer["output"], answer["step"]) == ([103.0], [106.0], 4)
        with pytest.raises(SessionExists):
            await parts.predict(item | {"session": "s"})

    run(body)


def test_a_named_state_leaves_the_inputs_of_a_sequence_to_the_request() -> None:
    async def body() -> None:
        parts = Parts(engine=SpeakerSums, manifest=SPEAKERS)
        (model,) = parts.repository
        state = (np.array([100], np.float32), np.zeros(2, np.float32))
        parts.repository.add(replace(model, states={"warm": state}))
        steps = {"x": [[1.0]], "speaker": [1.0, 1.0]}
        (answer,) = await parts.predict({"steps": steps, "state": {"name": "warm"}})
        assert answer["output"] == [[103.0]]
        with pytest.raises(InvalidField, match="'speaker' is missing"):
            await parts.predict({"steps": {"x": [[1.0]]}, "state": {"name": "warm"}})
        resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
        await resources.create("", "s", state={"name": "warm"})
        with pytest.raises(InvalidField, match="'speaker' is missing"):
            await parts.predict({"steps": {"x": [[1.0]]}, "session": "s"})
        (created,) = await parts.predict({"steps": steps, "session": "s", "at": 0})
        assert created["output"] == [[103.0]]

    run(body)


def test_a_named_state_that_the_version_does_not_have_is_unknown() -> None:
    async def body() -> None:
        with pytest.raises(
            CellgateError, match="m version 1 has no initial state 'idle'; there are none"
        ) as e:
            await with_states().predict({"steps": TWO, "state": {"name": "idle"}}, version="1")
        assert (e.value.status, e.value.code, e.value.pointer) == (404, "unknown_state", "/sequences/0/state")

    run(body)
