"""Generations token by token: whatever breaks, each token comes once, and a session moves once."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate import AsyncClient, Client, ConnectionFailed, SessionConflict
from cellgate.core import Timing
from cellgate.errors import DeadlineExceeded
from cellgate.tokens import Event, EventReader
from tests.cellgate.fakes import SleepyClock

WORD = "hello"


def events(last_id: str) -> bytes:
    """What a server sends after the event of that id."""
    written = [
        f"event: token\nid: {index + 1}\ndata: {json.dumps({'start': index, 'ids': [ord(c)], 'text': c})}\n\n"
        for index, c in enumerate(WORD)
    ]
    reply = {"model": "m", "version": "1", "ids": [ord(c) for c in WORD], "text": WORD, "seed": 7}
    written.append(f"event: end\nid: end\ndata: {json.dumps(reply)}\n\n")
    return "".join(written[int(last_id or 0) :]).encode()


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A reply that breaks after so many bytes; None: never."""

    def __init__(self, content: bytes, broken_at: int | None) -> None:
        self._content = content[:broken_at]
        self._is_broken = broken_at is not None and broken_at < len(content)

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), 7):
            yield self._content[start : start + 7]
        if self._is_broken:
            raise httpx.ReadError("broken")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def transport(breaks: list[int]) -> httpx.MockTransport:
    remaining = list(breaks)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == "text/event-stream"
        body = Body(events(request.headers.get("last-event-id", "")), remaining.pop(0) if remaining else None)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    return httpx.MockTransport(answer)


@given(breaks=st.lists(st.integers(0, 500), max_size=8))
def test_events_that_break_at_any_byte_give_each_token_once(breaks: list[int]) -> None:
    clock = SleepyClock()
    timing = Timing(clock, lambda: 0.5)
    client = Client(transport=transport(breaks), sleep=clock.sleep, timing=timing, max_retry_s=100)
    tokens = client.generate_tokens("a")
    assert "".join(token.text or "" for token in tokens) == WORD
    assert tokens.result is not None and (tokens.result.text, tokens.result.seed) == (WORD, 7)

    async def collect() -> str:
        other = AsyncClient(
            transport=transport(breaks), sleep=clock.sleep_async, timing=timing, max_retry_s=100
        )
        async with other:
            return "".join([token.text or "" async for token in other.generate_tokens("a")])

    assert asyncio.run(collect()) == WORD


def test_it_gives_up_after_its_time() -> None:
    clock = SleepyClock()
    timing = Timing(clock, lambda: 0.5)
    client = Client(transport=transport([0] * 100), sleep=clock.sleep, timing=timing, max_retry_s=5)
    with pytest.raises(ConnectionFailed):
        list(client.generate_tokens("a"))
    assert sum(clock.waits) < 5


def test_an_error_among_the_events_is_raised() -> None:
    problem = {"code": "deadline_exceeded", "status": 504, "detail": "too late"}
    body = f"event: error\ndata: {json.dumps(problem)}\n\n".encode()

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    client = Client(transport=httpx.MockTransport(answer), max_retry_s=0)
    with pytest.raises(DeadlineExceeded, match="too late"):
        list(client.generate_tokens("a"))


@given(cut=st.integers(0, 400))
def test_events_may_arrive_in_any_pieces(cut: int) -> None:
    reader, content = EventReader(), events("")
    read = [*reader.feed(content[:cut]), *reader.feed(content[cut:])]
    assert [event.id for event in read] == ["1", "2", "3", "4", "5", "end"]
    assert read[0] == Event("token", "1", '{"start": 0, "ids": [104], "text": "h"}')


def test_the_tokens_of_a_real_server_are_those_of_the_reply(client: Client, name: str) -> None:
    whole = client.generate("the cat ", model="letters", max_steps=8, seed=3)
    tokens = client.generate_tokens("the cat ", model="letters", max_steps=8, seed=3)
    assert tuple(token.id for token in tokens) == whole.ids
    assert tokens.result == whole
    session = client.session(name, model="letters")
    tokens = session.generate_tokens("the cat ", max_steps=8, seed=3)
    first: Any = next(tokens)
    assert (first.id, session.at, tokens.result) == (whole.ids[0], 0, None)
    with pytest.raises(RuntimeError, match="the previous part has no reply yet"):
        session.step("a")
    assert (first.id, *(token.id for token in tokens)) == whole.ids
    assert session.at == 16
    assert session.step("a").step == 17


def test_a_generation_that_is_stopped_has_not_moved_its_session(client: Client, name: str) -> None:
    session = client.session(name, model="letters")
    tokens = session.generate_tokens("the cat ", max_steps=1000, seed=3)
    next(tokens)
    tokens.close()
    assert session.at == 0
    try:
        assert session.step("a").step == 1
    except SessionConflict:  # the server was faster
        assert session.locate() == 1008
