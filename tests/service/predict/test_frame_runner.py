"""Frames of streams: joined, failing, and racing with other workers."""

import pytest

from service.sessions import Record
from tests.service.http.streams import World, run
from tests.service.predict.parts import RacingStore


@pytest.mark.parametrize("value", [2, 3])
def test_of_joined_frames_that_fail_only_the_one_at_fault_is_an_error(value: int) -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.parts.engines["1"].fail_on = value
        world.send(steps=[[2]])
        world.send(steps=[[3]])
        answers = await world.answers()
        assert ["error" in answer for answer in answers] == [value == 2, value == 3]
        world.send(steps=[[10]])
        assert (await world.answers())[0]["output"] == [15.0 - value]

    run(work)


def test_a_frame_runs_again_when_another_worker_was_first() -> None:
    async def work(world: World) -> None:
        await world.opened()
        world.send(steps=[[1]])
        await world.answers()
        world.parts.store.num_races = 2
        world.send(steps=[[2]])
        world.send(steps=[[4]])
        assert [answer["output"] for answer in await world.answers()] == [[203.0], [207.0]]
        world.parts.store.num_races = 1
        world.send(steps=[[8]], at=5)
        ((answer),) = await world.answers()
        assert answer["error"]["code"] == "session_conflict" and answer["error"]["step"] == 6

    run(work)


def test_a_frame_whose_session_cannot_be_read_is_answered_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that is no CellgateError left the frame without an answer, and its session's turn taken."""

    async def fail(_store: RacingStore, _key: bytes) -> Record | None:
        raise ValueError("an error that nobody foresaw")

    async def work(world: World) -> None:
        await world.opened()
        with monkeypatch.context() as broken:
            broken.setattr(RacingStore, "get", fail)
            world.send(steps=[[1]])
            (answer,) = await world.answers()
            assert answer["error"]["code"] == "internal"
        world.send(steps=[[2]])
        assert [answer["output"] for answer in await world.answers()] == [[2.0]]

    run(work)
