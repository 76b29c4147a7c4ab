"""A session through the real rules and store: resumed, retried, raced, pinned to its version."""

import asyncio
from typing import Any

import orjson
import pytest

from service.errors import (
    CellgateError,
    InternalError,
    InvalidField,
    ModelLoading,
    SessionConflict,
    SessionGone,
    SessionMismatch,
    SessionNotSupported,
    UnknownSession,
)
from service.manifest import Manifest, StateSpec
from service.repository.choice import Agreed, Choice
from service.sessions import Resources
from service.state import StateLayout
from tests.service.predict.parts import (
    GATED,
    LETTERS,
    SUMS,
    GatedSums,
    LetterSums,
    Parts,
    build_model,
    run,
)

TWO = [[1.0], [2.0]]


def step(**fields: Any) -> dict[str, Any]:
    return {"steps": TWO, "session": "s"} | fields


def test_a_session_continues_where_it_left_off() -> None:
    async def body() -> None:
        parts = Parts()
        for number in (1, 2, 3):
            (answer,) = await parts.predict(step())
            assert (answer["output"], answer["step"], answer["session"]) == ([3.0 * number], 2 * number, "s")
        assert parts.engines["1"].num_resumed == 2, "the engine's own copy of the state is used"

    run(body)


def test_a_state_that_the_engine_does_not_have_is_read_from_the_store() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        parts.engines["1"].states.clear()
        (answer,) = await parts.predict(step())
        assert answer["output"] == [6.0]

    run(body)


@pytest.mark.parametrize("states", [(), SUMS.states * 2])
def test_a_state_of_another_size_is_not_read(states: tuple[StateSpec, ...]) -> None:
    """A manifest can change while its graph stays: of a longer state, the first bytes were read."""

    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        parts.engines["1"].layout = StateLayout(states)
        with pytest.raises(SessionMismatch, match="the manifest has changed"):
            await parts.predict(step())

    run(body)


def test_a_retry_gets_the_stored_reply_and_computes_nothing() -> None:
    async def body() -> None:
        parts = Parts()
        first = await parts.predict(step(at=0))
        num_calls = len(parts.engines["1"].batches)
        assert await parts.predict(step(at=0)) == first
        assert len(parts.engines["1"].batches) == num_calls
        with pytest.raises(SessionConflict) as raised:
            await parts.predict(step(at=0, steps=[[5.0]]))
        assert raised.value.members == {"step": 2} and raised.value.pointer == "/sequences/0"

    run(body)


def test_a_request_from_before_a_rewind_is_refused() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
        assert (await resources.rewind("", "s", 2)).rewinds == 1
        with pytest.raises(SessionConflict) as raised:
            await parts.predict(step(at=2, rewinds=0))
        assert raised.value.members == {"step": 2, "rewinds": 1}
        (answer,) = await parts.predict(step(at=2, rewinds=1))
        assert answer["output"] == [6.0]

    run(body)


def test_an_error_leaves_the_session_where_it_was() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        parts.engines["1"].fail_on = 2.0
        with pytest.raises(InternalError):
            await parts.predict(step())
        parts.engines["1"].fail_on = None
        (answer,) = await parts.predict(step(at=2))
        assert (answer["output"], answer["step"]) == ([6.0], 4)

    run(body)


def test_a_session_ends_with_its_last_sequence() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        (answer,) = await parts.predict(step(end=True))
        assert answer["step"] == 4
        with pytest.raises(SessionGone):
            await parts.predict(step(at=4))
        (answer,) = await parts.predict(step())
        assert (answer["output"], answer["step"]) == ([3.0], 2), "the name is free again"

    run(body)


def test_sequences_of_one_session_in_a_request_run_one_after_the_other() -> None:
    async def body() -> None:
        answers = await Parts().predict(step(), step(), step())
        assert sorted(answer["step"] for answer in answers) == [2, 4, 6]
        assert sorted(answer["output"][0] for answer in answers) == [3.0, 6.0, 9.0]

    run(body)


def test_requests_of_one_session_take_turns() -> None:
    async def body() -> None:
        parts = Parts()
        answers = await asyncio.gather(*(parts.predict(step()) for _ in range(8)))
        assert sorted(answer["step"] for (answer,) in answers) == list(range(2, 18, 2))

    run(body)


def test_a_request_that_loses_the_race_runs_again_from_the_new_state() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        parts.store.num_races = 2
        (answer,) = await parts.predict(step())
        assert (answer["output"], answer["step"]) == ([206.0], 6)

    run(body)


def test_a_request_with_a_step_that_loses_the_race_is_refused() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step())
        parts.store.num_races = 1
        with pytest.raises(SessionConflict):
            await parts.predict(step(at=2))

    run(body)


def test_tenants_do_not_see_each_other() -> None:
    async def body() -> None:
        parts = Parts()
        await parts.predict(step(), tenant="a")
        (answer,) = await parts.predict(step(), tenant="b")
        assert answer["step"] == 2
        with pytest.raises(UnknownSession):
            await parts.predict(step(at=2), tenant="c")

    run(body)


def test_a_session_stays_with_its_version_and_only_a_request_that_names_another_is_refused() -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        await parts.predict(step(), version="1")
        (answer,) = await parts.predict(step())
        assert answer["output"] == [6.0]
        assert len(parts.engines["1"].batches) == 2 and not parts.engines["2"].batches
        with pytest.raises(SessionMismatch):
            await parts.predict(step(), version="2")

    run(body)


def test_a_session_is_read_for_its_version_whatever_the_default_one_takes() -> None:
    """The default version read it first, and refused it: for its inputs, or as it has no gates itself."""

    async def body() -> None:
        parts = Parts("1", engine=GatedSums, manifest=GATED)
        (begun,) = await parts.predict(step(), return_state=True)
        parts.repository.add(build_model("m", "2", LETTERS, LetterSums()))
        token = {"steps": TWO, "state": begun["state"]}
        answers = await parts.predict(step(), step(session="t"), token, step())
        assert [answer.get("output") for answer in answers] == [[6.0], None, [6.0], [9.0]]
        assert answers[1]["error"]["status"] == 422, "a new session begins on the default version"
        returned: dict[str, Any] = {"return": ["gates"]}
        (gated,) = await parts.predict(step(), **returned)
        assert len(gated["gates"]) == 3
        for fields in ({"version": "2"}, {"tenant": "b"}):
            with pytest.raises(InvalidField):
                await parts.predict(step(), **fields)

    run(body)


def test_a_session_that_moves_while_its_request_waits_is_read_again() -> None:
    """Its steps are never those that were read for the version before."""

    async def body() -> None:
        parts = Parts("1")
        await parts.predict(step(end=False))
        parts.repository.add(build_model("m", "2", LETTERS, LetterSums()))
        find = parts.sessions.find

        async def find_then_end(key: bytes) -> Any:
            found = await find(key)
            parts.sessions.find = find  # type: ignore[method-assign]
            await parts.predict(step(end=True), version="1")
            return found

        parts.sessions.find = find_then_end  # type: ignore[method-assign]
        with pytest.raises(InvalidField):
            await parts.predict(step())
        assert not parts.repository.get("m", "2").engine.batches  # type: ignore[attr-defined]

    run(body)


def test_the_reply_names_the_version_that_answered_a_single_sequence() -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        await parts.predict(step(), version="1")
        single = await parts.predictor.predict(orjson.dumps({"sequences": [step(at=2)]}))
        retried = await parts.predictor.predict(orjson.dumps({"sequences": [step(at=2)]}))
        many = await parts.predictor.predict(orjson.dumps({"sequences": [step(), TWO]}))
        assert [reply.version for reply in (single, retried, many)] == ["1", "1", "2"]
        assert (single.steps, retried.steps, many.steps) == (2, 0, 4)

    run(body)


def test_a_session_whose_version_is_not_loaded_cannot_continue() -> None:
    async def body() -> None:
        parts = Parts("1", "2")
        await parts.predict(step(), version="1")
        parts.repository.retire("m", "1", 0.0)
        (retired,) = parts.repository.idle(1e12)
        parts.repository.remove(retired)
        with pytest.raises(SessionMismatch, match="version 1, which is not loaded") as raised:
            await parts.predict(step())
        assert raised.value.members == {"model": "m", "version": "1"}

    run(body)


def test_a_session_whose_version_is_not_loaded_yet_is_told_to_wait() -> None:
    """Another replica, or another worker of this one, has loaded the version first."""

    async def body() -> None:
        parts = Parts("1", "2")
        await parts.predict(step(), version="2")
        parts.repository.retire("m", "2", 0.0)
        (retired,) = parts.repository.idle(1e12)
        parts.repository.remove(retired)
        with pytest.raises(ModelLoading, match="version 2, which is not loaded yet"):
            await parts.predict(step())
        parts.repository.add(retired)
        (answer,) = await parts.predict(step())
        assert answer["step"] == 4

    run(body)


@pytest.mark.parametrize(
    ("changes", "message"), [({"states": []}, "has no state"), ({"causal": False}, "from both ends")]
)
def test_a_model_that_needs_the_whole_sequence_has_no_sessions(changes: dict[str, Any], message: str) -> None:
    async def body() -> None:
        parts = Parts(manifest=Manifest.model_validate(SUMS.model_dump(mode="json") | changes))
        with pytest.raises(CellgateError, match=message) as raised:
            await parts.predict(step())
        assert isinstance(raised.value, SessionNotSupported)
        assert raised.value.pointer == "/sequences/0/session"

    run(body)


def test_a_new_session_starts_on_the_canary_and_stays_there() -> None:
    async def work() -> None:
        parts = Parts("1", "2")
        parts.repository.agree({"m": Agreed(Choice("1", aliases={"old": "1"}, canary="2", weight=1.0))})

        async def version(**fields: Any) -> str:
            body = orjson.dumps({"sequences": [{"steps": [[1]], **fields.pop("item", {})}], **fields})
            return (await parts.predictor.predict(body)).version

        assert await version() == "1", "a request without a session"
        assert await version(item={"session": "a"}) == "2"
        assert await version(item={"session": "b"}, version="1") == "1", "a request that names its version"
        assert await version(item={"session": "c"}, version="old") == "1", "or an alias"
        parts.repository.agree({"m": Agreed(Choice("1", aliases={"old": "2"}))})
        assert [await version(item={"session": name}) for name in "abc"] == ["2", "1", "1"]
        assert await version(item={"session": "c"}, version="old") == "1", "an alias that has moved"
        ended = {"session": "a", "at": 2, "end": True}
        assert [await version(item=ended) for _ in range(2)] == ["2", "2"], "a retry after the end"
        with pytest.raises(SessionMismatch):
            await version(item={"session": "b"}, version="2")

    run(work)
