"""Frames of streams: joined, failing, and racing with other workers."""

import pytest

from tests.service.http.streams import World, run


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
