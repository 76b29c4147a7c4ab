"""One frame's error is never another's, whose commit it shares."""

from collections.abc import Callable
from typing import Any

import pytest

from service.predict import frame_replies
from service.predict.channel import Channel, Run
from tests.service.http.streams import World, run


def _fails_for_channel_0(replaced: Callable[..., Any]) -> Callable[..., Any]:
    def fail(first: Channel | Run, *arguments: Any) -> Any:
        channel = first.channel if isinstance(first, Run) else first
        if channel.number == 0:
            raise ValueError("an error that nobody foresaw")
        return replaced(first, *arguments)

    return fail


@pytest.mark.parametrize("name", ["advance", "write"])
def test_a_reply_that_cannot_be_written_is_an_error_of_its_own_frame(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the answer to all frames of the commit, or none of them had one."""

    async def work(world: World) -> None:
        for channel in (0, 1):
            world.send(channel=channel, session=f"s{channel}", model="m")
            await world.answers()
        with monkeypatch.context() as broken:
            broken.setattr(frame_replies, name, _fails_for_channel_0(getattr(frame_replies, name)))
            world.send(channel=0, steps=[[1]], at=0)
            world.send(channel=1, steps=[[2]], at=0)
            answers = {answer["channel"]: answer for answer in await world.answers()}
            assert answers[0]["error"]["code"] == "internal"
            assert answers[1]["output"] == [2.0]
        world.send(channel=0, steps=[[1]], at=0)  # applied before, or now
        world.send(channel=1, steps=[[4]], at=1)
        answers = {answer["channel"]: answer["output"] for answer in await world.answers()}
        assert answers == {0: [1.0], 1: [6.0]}
        assert world.memory.used == 0

    run(work)
