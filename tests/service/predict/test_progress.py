"""Which events a client still gets."""

from math import inf

import pytest

from service.codec.events import EventId
from service.errors import EventMismatch
from service.predict.progress import Event, Progress
from service.stages import Stages
from tests.service.predict.parts import run


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def emit(self, event: Event) -> None:
        self.events.append(event)


async def ids_of(progress: Progress, listener: Listener, *stops: int) -> list[str]:
    """Of the events when pieces that would end at `stops` are computed."""
    progress.begin(b"digest", most=stops[-1], seed=7)
    for stop in stops:
        while progress.done < stop:
            start, end = progress.done, progress.cut(stop)
            content = bytes(range(start, end))
            await progress.add(end - start, content, lambda start: b"%d" % start, inf)
    progress.end()
    return [event.id for event in listener.events]


def test_the_rest_is_sent_wherever_the_pieces_are_cut() -> None:
    async def body() -> None:
        whole = Listener()
        ids = await ids_of(Progress(whole.emit, "steps", None, Stages()), whole, 2, 4, 5)
        assert [event.data for event in whole.events] == [b"0", b"2", b"4"]
        for event_id, starts in zip(ids, ([b"2", b"3"], [b"4"], []), strict=True):
            rest = Listener()
            sent = await ids_of(Progress(rest.emit, "steps", EventId.parse(event_id), Stages()), rest, 3, 5)
            assert [event.data for event in rest.events] == starts
            assert sent[-1:] == ids[-1:] if starts else not sent

    run(body)


def test_a_client_that_claims_more_than_there_is_gets_an_error() -> None:
    async def body() -> None:
        listener = Listener()
        progress = Progress(listener.emit, "token", EventId(None, 4, 7, 0), Stages())
        progress.begin(b"digest", most=9, seed=7)
        await progress.add(1, b"a", lambda _: b"", inf)
        with pytest.raises(EventMismatch):
            progress.end()
        assert not listener.events

    run(body)
