"""The records of channels that have none at hand."""

import asyncio

import pytest

from service.sessions import Record
from tests.service.http.streams import World, run
from tests.service.predict.parts import RacingStore


async def _open_two(world: World) -> None:
    for channel in (0, 1):
        world.send(channel=channel, session=f"s{channel}", model="m")
        await world.answers()


def test_records_of_sessions_that_start_together_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, each took a round trip to Redis."""
    both, is_first = asyncio.Barrier(2), iter((True, True))
    get = RacingStore.get

    async def read(store: RacingStore, key: bytes) -> Record | None:
        if next(is_first, False):  # later ones are those of commits
            await both.wait()
        return await get(store, key)

    async def work(world: World) -> None:
        await _open_two(world)
        monkeypatch.setattr(RacingStore, "get", read)
        for channel in (0, 1):
            world.send(channel=channel, steps=[[1]])
        assert [answer["output"] for answer in await world.answers()] == [[1.0], [1.0]]

    run(work)


def test_a_record_that_cannot_be_read_is_an_error_of_its_own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    get = RacingStore.get

    async def read(store: RacingStore, key: bytes) -> Record | None:
        if key.endswith(b"0"):
            raise ValueError("an error that nobody foresaw")
        return await get(store, key)

    async def work(world: World) -> None:
        await _open_two(world)
        with monkeypatch.context() as broken:
            broken.setattr(RacingStore, "get", read)
            for channel in (0, 1):
                world.send(channel=channel, steps=[[1]])
            refused, answered = sorted(await world.answers(), key=lambda answer: str(answer["channel"]))
            assert (refused["error"]["code"], answered["output"]) == ("internal", [1.0])
        world.send(channel=0, steps=[[2]])
        assert [answer["output"] for answer in await world.answers()] == [[2.0]]

    run(work)
