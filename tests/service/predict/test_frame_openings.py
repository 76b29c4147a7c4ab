"""On which version the frames of a channel run."""

from typing import Any

import pytest

from service.sessions import Resources
from tests.service.http.streams import World, run

STEP = {"steps": [[1]], "session": "s", "at": 0}


async def _opened_before_another(world: World, **opening: Any) -> Any:
    """The answer to a frame whose session another request has begun on version 1 since the opening."""
    world.send(session="s", model="m", **opening)
    (opened,) = await world.answers()
    assert (opened["version"], opened["step"]) == ("2", 0)
    await world.parts.predict(STEP, version="1")
    world.send(steps=[[1]], at=0)
    (answer,) = await world.answers()
    return answer["error"]


def test_a_session_that_began_on_another_version_is_continued_by_the_next_opening() -> None:
    """The default version had changed between the opening of a stream and that of another client."""

    async def work(world: World) -> None:
        error = await _opened_before_another(world)
        assert error["code"] == "session_mismatch"
        assert "open the channel again" in error["detail"]
        world.send(session="s", model="m", at=0)
        (opened,) = await world.answers()
        assert (opened["version"], opened["step"]) == ("1", 1)
        world.send(steps=[[1]], at=0)
        world.send(steps=[[4]], at=1)
        retried, following = await world.answers()
        assert (retried["replayed"], retried["output"], following["output"]) == (True, [1.0], [5.0])

    run(work, "1", "2")


def test_a_channel_that_names_its_version_stays_refused() -> None:
    async def work(world: World) -> None:
        error = await _opened_before_another(world, version="2")
        assert error["code"] == "session_mismatch" and "again" not in error["detail"]
        world.send(session="s", model="m", version="2", at=0)
        (answer,) = await world.answers()
        assert answer["error"]["code"] == "session_mismatch"

    run(work, "1", "2")


def test_a_session_that_moves_to_another_version_is_continued_by_the_next_opening() -> None:
    async def work(world: World) -> None:
        world.send(session="s", model="m")
        await world.answers()
        world.send(steps=[[1]])
        await world.answers()
        resources = Resources(world.parts.sessions, world.parts.repository.get, max_ttl_s=60)
        await resources.migrate("", "s", "1")
        world.send(steps=[[2]], at=1)
        (answer,) = await world.answers()
        assert answer["error"]["code"] == "session_mismatch"
        world.send(session="s", model="m", at=1)
        world.send(steps=[[2]], at=1)
        opened, answer = await world.answers()
        assert (opened["version"], answer["output"]) == ("1", [3.0])

    run(work, "1", "2")


@pytest.mark.parametrize("names_version", [False, True])
def test_a_version_that_is_unloaded_before_the_first_frame_is_chosen_anew_if_none_is_named(
    names_version: bool,
) -> None:
    """A client that had named no version was told that there is no version 2."""

    async def work(world: World) -> None:
        opening = {"session": "s", "model": "m"} | ({"version": "2"} if names_version else {})
        world.send(**opening)
        assert (await world.answers())[0]["version"] == "2"
        world.parts.repository.remove(world.parts.repository.get("m", "2"))
        world.send(steps=[[1]], at=0)
        (answer,) = await world.answers()
        code = "unknown_version" if names_version else "session_mismatch"
        assert answer["error"]["code"] == code
        if not names_version:
            world.send(**opening, at=0)
            world.send(steps=[[1]], at=0)
            opened, answer = await world.answers()
            assert (opened["version"], answer["step"]) == ("1", 1)

    run(work, "1", "2")
