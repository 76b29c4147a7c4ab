"""Events put together equal the one-shot reply; broken off anywhere and resumed, they still do.

Models are sums, so that a step lost, doubled or half applied is a wrong number.
"""

import asyncio
import contextlib
import copy
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codec.events import EventId
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    EventMismatch,
    InternalError,
    InvalidField,
    SessionConflict,
)
from service.manifest import Manifest
from service.predict import Event, Generator, PredictionEvents, Predictor, TextEvents
from service.sessions import HistoryRule, Resources, Sessions, SteadyClock, session_key
from tests.service.events import joined
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

MANY = settings(max_examples=60, deadline=None)
NAMED = ["count", "odds", "total"]


@dataclass
class Client:
    """Receives events; its connection may break after some."""

    breaks_after: int | None = None
    events: list[Event] = field(default_factory=list)

    async def emit(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) == self.breaks_after:
            raise asyncio.CancelledError

    @property
    def has_all(self) -> bool:
        return bool(self.events) and self.events[-1].is_last

    @property
    def last_id(self) -> EventId | None:
        return EventId.parse(self.events[-1].id) if self.events else None

    def reply(self) -> dict[str, Any]:
        return joined([(event.name, event.data) for event in self.events])


class Deaf(Client):
    """Reads nothing."""

    async def emit(self, event: Event) -> None:  # noqa: ARG002
        await asyncio.Event().wait()


class Server(Parts):
    """Both routes."""

    def __init__(self, engine: type[SessionSums] = SessionSums, manifest: Manifest = SUMS) -> None:
        super().__init__(engine=engine, manifest=manifest)
        self.generator = Generator(self.predictor)

    def cut(self, chunk_steps: int) -> None:
        """Compute so many steps at a time."""
        for model in self.repository:
            model.worker.scheduler.chunk_steps = chunk_steps

    def twin(self) -> "Server":
        """Another worker on the same store."""
        twin = copy.copy(self)
        sessions = Sessions(self.store, ttl_s=60, clock=SteadyClock(None))
        twin.predictor = Predictor(
            self.repository,
            sessions,
            max_sequences=4,
            max_steps=20,
            timeout_s=10,
            clock=self.predictor._clock,
        )
        twin.generator = Generator(twin.predictor)
        return twin

    async def stream(self, fields: dict[str, Any], client: Client, after: EventId | None = None) -> None:
        """The events after one."""
        body, resumed = orjson.dumps(fields), after or client.last_id
        if "prompt" in fields:
            await TextEvents(self.generator, client.emit, resumed).answer(body)
        else:
            await PredictionEvents(self.predictor, client.emit, resumed).answer(body)

    async def until_broken(self, fields: dict[str, Any], client: Client, num_events: int = 1) -> None:
        """Until the client has received so many events more, or all."""
        client.breaks_after = len(client.events) + num_events
        with contextlib.suppress(asyncio.CancelledError):
            await self.stream(fields, client)
        client.breaks_after = None

    async def once(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The one-shot reply."""
        body = orjson.dumps(fields)
        answer = self.generator.generate if "prompt" in fields else self.predictor.predict
        reply: dict[str, Any] = orjson.loads((await answer(body)).body)
        return reply

    async def step(self, session: str) -> int | None:
        record = await self.store.get(session_key("", session))
        return None if record is None else record.step


def numbers(*steps: float, session: str | None = None, **fields: Any) -> dict[str, Any]:
    sequence: Any = {"steps": [[step] for step in steps]} | fields
    if session is not None:
        sequence["session"] = session
    return {"sequences": [sequence], "return": "all"}


def speaker(steps: int, session: str | None, outputs: list[str] | None) -> dict[str, Any]:
    fields = numbers(session=session)
    fields["sequences"][0]["steps"] = {"x": [[0.25 * i] for i in range(steps)], "speaker": [0.5, 2]}
    return fields if outputs is None else fields | {"outputs": outputs}


def letters(session: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"prompt": ["b"], "max_steps": 5} | fields | ({} if session is None else {"session": session})


@given(
    steps=st.integers(1, 12),
    outputs=st.sampled_from([None, NAMED, ["total", "y"], ["y", "odds"]]),
    in_session=st.booleans(),
    breaks=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), max_size=3),
    commits=st.booleans(),
)
@MANY
def test_predictions_put_together_equal_the_one_shot_reply(
    steps: int, outputs: list[str] | None, in_session: bool, breaks: list[tuple[int, int]], commits: bool
) -> None:
    """`breaks`: after so many events each, of chunks of so many steps: another replica cuts elsewhere.

    `commits`: the same request is sent without events, too, while the client is away.
    """

    async def body() -> None:
        server, client = Server(SpeakerSums, SPEAKERS), Client()
        fields = speaker(steps, "s" if in_session else None, outputs)
        expected = await Server(SpeakerSums, SPEAKERS).once(fields)
        for num_events, chunk_steps in breaks:
            server.cut(chunk_steps)
            if not client.has_all:
                assert await server.step("s") is None  # nothing is applied
                await server.until_broken(fields, client, num_events)
        server.cut(2)
        if commits and client.events:
            at = {"at": 0} if in_session else {}
            await server.once(fields | {"sequences": [fields["sequences"][0] | at]})
        if not client.has_all:
            await server.stream(fields, client)
        assert client.reply() == expected
        assert await server.step("s") == (steps if in_session else None)

    run(body)


@given(
    steps=st.integers(1, 8),
    seed=st.sampled_from([None, 1, 2**53 - 1]),
    in_session=st.booleans(),
    breaks=st.lists(st.integers(1, 4), max_size=3),
    temperature=st.sampled_from([0, 1.0, 5.0]),
)
@MANY
def test_tokens_put_together_equal_the_one_shot_reply(
    steps: int, seed: int | None, in_session: bool, breaks: list[int], temperature: float
) -> None:
    """Without a seed, the client's first event names the one that was drawn."""

    async def body() -> None:
        server, client = Server(LetterSums, LETTERS), Client()
        fields = letters("s" if in_session else None, seed=seed, max_steps=steps, temperature=temperature)
        for num_events in breaks:
            if not client.has_all:
                assert await server.step("s") is None
                await server.until_broken(fields, client, num_events)
        if not client.has_all:
            await server.stream(fields, client)
        reply = client.reply()
        fields["seed"] = reply["seed"]
        assert reply == await Server(LetterSums, LETTERS).once(fields)
        assert len(client.events) == steps + 1
        assert seed in (None, reply["seed"])

    run(body)


@pytest.mark.parametrize("fields", [numbers(1, 2, 3, 4, 5, session="s"), letters("s")])
def test_a_reply_that_was_committed_is_resumed_from_the_store(fields: dict[str, Any]) -> None:
    """Without "at" too: the id knows the step at which the request began."""

    async def body() -> None:
        is_text = "prompt" in fields
        server = Server(LetterSums, LETTERS) if is_text else Server()
        whole = Client()
        await server.stream(fields, whole)
        (engine,) = server.engines.values()
        num_calls = len(engine.batches)
        for index in range(len(whole.events) - 1):
            client = Client(events=whole.events[: index + 1])
            await server.stream(fields, client)
            assert client.reply() == whole.reply()
        assert len(engine.batches) == num_calls

    run(body)


@pytest.mark.parametrize("session", [None, "s"])
@pytest.mark.parametrize("is_text", [False, True], ids=["predict", "generate"])
def test_the_last_event_has_the_state_token(is_text: bool, session: str | None) -> None:
    """Also where it is read from the stored reply; the request begins from such a token itself."""

    async def body() -> None:
        server = Server(LetterSums, LETTERS) if is_text else Server()
        fields = letters(seed=1) if is_text else numbers(1, 2, 3, 4, 5)
        given = await server.once(fields | {"return_state": True})
        token = given["state"] if is_text else given["predictions"][0]["state"]
        fields = fields | {"return_state": True}
        part = fields if is_text else fields["sequences"][0]
        part["state"] = token
        expected = await server.once(fields)
        if session is not None:
            part |= {"session": session, "at": 6 if is_text else 5}
            expected = await server.twin().once(fields)
        client = Client()
        await server.until_broken(fields, client)
        await server.stream(fields, client)
        reply = client.reply()
        assert reply == expected
        assert (reply if is_text else reply["predictions"][0])["step"] == (12 if is_text else 10)

    run(body)


async def with_history(server: Server, rule: HistoryRule) -> Resources:
    """A session `s` that keeps its past, at step 0."""
    resources = Resources(server.sessions, server.repository.get, max_ttl_s=60)
    await resources.create("", "s", history=rule)
    return resources


def test_states_within_the_request_are_kept_as_without_events() -> None:
    async def body() -> None:
        kept = []
        for is_stream in (False, True):
            server = Server(SpeakerSums, SPEAKERS)
            server.cut(5)
            resources = await with_history(server, HistoryRule(3, 3))
            fields = speaker(11, "s", NAMED)
            if is_stream:
                client = Client()
                await server.until_broken(fields, client)
                await server.stream(fields, client)
                assert client.reply() == await Server(SpeakerSums, SPEAKERS).once(fields)
            else:
                await server.once(fields)
            history = (await resources.read("", "s")).history
            assert history is not None
            kept.append(history.checkpoints)
        assert kept[0] == kept[1] and [step for step, _ in kept[0]] == [3, 6, 9]

    run(body)


@pytest.mark.parametrize("commits", [False, True])
def test_a_session_that_was_rewound_is_not_moved_by_a_stream_from_before(commits: bool) -> None:
    """It is at the step where the stream began, so that `at` alone would let it in."""

    async def body() -> None:
        server = Server()
        resources = await with_history(server, HistoryRule(3))
        await server.once(numbers(1, session="s"))
        client, fields = Client(), numbers(1, 2, 3, session="s")
        await server.until_broken(fields, client)
        if commits:
            await server.once(fields)
        else:
            await server.once(numbers(5, session="s"))
        await resources.rewind("", "s", 1)
        with pytest.raises(SessionConflict) as raised:
            await server.stream(fields, client)
        assert raised.value.members == {"step": 1, "rewinds": 1}
        again = Client()  # a new stream knows of the rewind
        await server.until_broken(fields, again)
        assert again.last_id is not None and again.last_id.rewinds == 1
        await server.stream(fields, again)
        assert again.reply()["predictions"][0]["output"] == [[2.0], [4.0], [7.0]]
        replayed = Client()
        await server.until_broken(numbers(1, 2, 3, session="s", at=1), replayed)
        await server.stream(numbers(1, 2, 3, session="s", at=1), replayed)
        assert replayed.reply() == again.reply()

    run(body)


def test_a_session_that_has_moved_on_is_not_resumed() -> None:
    async def body() -> None:
        server, client = Server(), Client()
        fields = numbers(1, 2, 3, session="s")
        await server.until_broken(fields, client)
        await server.once(numbers(7, session="s"))
        with pytest.raises(SessionConflict) as raised:
            await server.stream(fields, client)
        assert raised.value.members == {"step": 1}

    run(body)


def test_a_request_that_loses_a_race_ends_with_a_conflict_and_applies_nothing() -> None:
    async def body() -> None:
        server, client = Server(), Client()
        await server.once(numbers(1, session="s"))
        server.store.num_races = 1
        with pytest.raises(SessionConflict) as raised:
            await server.stream(numbers(1, 2, 3, session="s"), client)
        assert raised.value.members == {"step": 2}
        assert [event.name for event in client.events] == ["steps", "steps"]
        assert (await server.once(numbers(1, session="s")))["predictions"][0]["output"] == [[102.0]]

    run(body)


class Twin(Client):
    """Lets another worker finish the same request before it takes its last event."""

    def __init__(self, server: Server, fields: dict[str, Any], num_before: int) -> None:
        super().__init__()
        self.server = server
        self.fields = fields
        self.num_before = num_before

    async def emit(self, event: Event) -> None:
        await super().emit(event)
        if len(self.events) == self.num_before:
            await self.server.twin().once(self.fields)


def test_the_same_request_in_two_workers_is_applied_once_and_both_get_its_reply() -> None:
    async def body() -> None:
        server = Server()
        fields = numbers(1, 2, 3, session="s", at=0)
        client = Twin(server, fields, 1)
        await server.stream(fields, client)
        assert client.reply()["predictions"][0]["output"] == [[1.0], [3.0], [6.0]]
        assert await server.step("s") == 3

    run(body)


def test_of_two_texts_of_one_request_the_committed_one_counts() -> None:
    """The workers have drawn other seeds: the client's tokens are not those of the session."""

    async def body() -> None:
        server = Server(LetterSums, LETTERS)
        client = Twin(server, letters("s", at=0), 2)
        with pytest.raises(EventMismatch):
            await server.stream(client.fields, client)
        again = Client()
        await server.stream(client.fields, again)
        assert again.reply() == await server.once(client.fields)

    run(body)


IDS = {
    "another reply": "-.2.-.00000000",
    "more steps than there are": "-.99.-.00000000",
    "a session": "0.2.-.00000000",
}


@pytest.mark.parametrize("event_id", IDS.values(), ids=IDS)
@pytest.mark.parametrize("fields", [numbers(1, 2, 3), letters()])
def test_an_id_of_another_reply_is_refused_before_any_event(event_id: str, fields: dict[str, Any]) -> None:
    async def body() -> None:
        server = Server(LetterSums, LETTERS) if "prompt" in fields else Server()
        client = Client()
        with pytest.raises(EventMismatch):
            await server.stream(fields, client, EventId.parse(event_id))
        assert not client.events

    run(body)


@pytest.mark.parametrize(
    "other",
    [
        numbers(1, 2, 4, 4, session="s"),
        numbers(1, 2, 3, 4, session="s", at=1),
        numbers(1, 2, 3, 4),
        numbers(1, 2, 3, 4, session="s", end=True),
        numbers(1, 2, 3, 4, session="t"),
    ],
)
def test_an_id_belongs_to_one_request(other: dict[str, Any]) -> None:
    """The outputs of the steps before it may be the same."""

    async def body() -> None:
        server, client = Server(), Client()
        await server.until_broken(numbers(1, 2, 3, 4, session="s"), client)
        with pytest.raises(EventMismatch):
            await server.stream(other, client)
        assert len(client.events) == 1

    run(body)


@pytest.mark.parametrize("fields", [numbers(1, 2, 3, session="s"), letters("s")])
def test_a_client_that_does_not_read_stops_the_work_at_the_deadline(fields: dict[str, Any]) -> None:
    async def body() -> None:
        server = Server(LetterSums, LETTERS) if "prompt" in fields else Server()
        server.predictor._timeout_s = 0.05

        client = Deaf()
        with pytest.raises(DeadlineExceeded, match="did not read"):
            await server.stream(fields, client)
        assert await server.step("s") is None
        server.predictor._timeout_s = 10
        assert await server.once(fields)  # and the session's turn is free

    run(body)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"sequences": [[[1]], [[2]]], "return": "all"}, "/sequences"),
        ({"sequences": [[[1]]]}, "/return"),
        ({"sequences": [[[1]]], "return": "last"}, "/return"),
        ({"sequences": [[["x"]]], "return": "all"}, "/sequences/0/0/0"),
        ({"sequences": [[[1]]], "returns": "all"}, "/returns"),
    ],
)
def test_an_error_before_the_first_event_points_at_its_field(fields: dict[str, Any], pointer: str) -> None:
    async def body() -> None:
        with pytest.raises(InvalidField) as raised:
            await Server().stream(fields, Client())
        assert raised.value.pointer == pointer

    run(body)


def test_a_stored_reply_of_another_form_is_an_error_and_no_event() -> None:
    """An imported session may hold one."""

    async def body() -> None:
        server, fields = Server(), numbers(1, 2, session="s", at=0)
        await server.once(fields)
        record = await server.store.get(session_key("", "s"))
        assert record is not None
        for forged in (b"{}", b"[]", b'{"output":[[1]]}', b'{"output":[["x"],[2]]}', b'{"output":7}'):
            record.reply = forged  # in the store, which is in memory
            with pytest.raises(CellgateError) as raised:
                await server.stream(fields, client := Client())
            assert type(raised.value) is InternalError and not client.events

    run(body)
