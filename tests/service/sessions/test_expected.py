"""Changes of a live session that name its step: what they refuse, what they replace, what they leave."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import SessionConflict, SessionGone, UnknownSession
from service.sessions import Expected, HistoryRule, Record
from tests.service.sessions.test_resources import homes
from tests.service.sessions.world import FIRST, NAME, World, expired, live

MINE = {"h": [[7.0, 7.0]], "c": [7.0, 7.0, 7.0]}
AT_4 = Expected(4, 0)
WRONG = {
    "another step": (Expected(2), {"step": 4}),
    "another number of rewinds": (Expected(4, 1), {"step": 4, "rewinds": 0}),
    "a number of rewinds alone": (Expected(rewinds=3), {"step": 4, "rewinds": 0}),
}
Change = Callable[[World, Expected], Awaitable[Record | None]]


async def edit(world: World, expected: Expected, **fields: Any) -> Record:
    given: dict[str, Any] = {"model": "vowels", "version": "1", "state": MINE, "step": 4} | fields
    return await world.resources.create("", NAME, expected=expected, **given)


async def import_copy(world: World, expected: Expected) -> Record:
    own: dict[str, Any] = {"model": "vowels", "version": "1", "state": MINE, "step": 4}
    await world.resources.create("", "copied", replace_live=True, **own)
    return await world.resources.import_(
        "", NAME, await world.resources.export("", "copied"), expected=expected
    )


CHANGES: dict[str, Change] = {
    "create": edit,
    "import": import_copy,
    "change": lambda world, expected: world.resources.change("", NAME, ttl_s=9, expected=expected),
    "migrate": lambda world, expected: world.resources.migrate("", NAME, "1", expected=expected),
    "delete": lambda world, expected: world.resources.delete("", NAME, expected=expected),
}


def test_nothing_is_expected_of_a_request_that_says_nothing() -> None:
    assert Expected.of(None, None) is None and Expected.of(0, None) == Expected(0)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(("expected", "members"), WRONG.values(), ids=WRONG)
def test_a_change_that_expects_another_session_changes_nothing(
    change: Change, expected: Expected, members: dict[str, int]
) -> None:
    async def body(world: World) -> None:
        await live(world)
        before = await world.resources.read("", NAME)
        with pytest.raises(SessionConflict) as conflict:
            await change(world, expected)
        assert conflict.value.members == members
        assert await world.resources.read("", NAME) == before

    homes(body)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_expects_a_session_starts_none(change: Change) -> None:
    async def body(world: World) -> None:
        with pytest.raises(UnknownSession):
            await change(world, Expected(0))
        await expired(world)
        with pytest.raises(SessionGone):
            await change(world, AT_4)

    homes(body)


@pytest.mark.parametrize("change", [edit, import_copy])
def test_a_replacement_counts_as_a_rewind_and_is_applied_once(change: Change) -> None:
    async def body(world: World) -> None:
        await live(world)
        before = await world.resources.read("", NAME)
        world.clock.now += 1
        made = await change(world, AT_4)
        assert made is not None and (made.step, made.rewinds) == (4, 1)
        assert made.created_ms == before.created_ms and made.state != before.state
        assert await change(world, AT_4) == made, "its reply was lost, and it is sent again"
        assert await world.resources.read("", NAME) == made
        with pytest.raises(SessionConflict):
            await edit(world, AT_4, state={"h": [[1.0, 1.0]], "c": [1.0, 1.0, 1.0]})
        with pytest.raises(SessionConflict):
            await world.step(2, FIRST)
        await world.step(4)
        with pytest.raises(SessionConflict):
            await change(world, AT_4)

    homes(body)


def test_time_to_live_and_checkpoints_stay_unless_others_are_given() -> None:
    async def body(world: World) -> None:
        await world.resources.create("", NAME, model="vowels", version="1", ttl_s=33, history=HistoryRule(8))
        for _ in range(3):
            await world.step()
        made = await edit(world, Expected(6, 0), step=4)
        assert made.ttl_ms == 33_000 and made.history is not None
        assert [checkpoint.step for checkpoint in made.history.checkpoints] == [0, 2]
        assert (made.history.last, made.rewinds) == (8, 1)
        assert await edit(world, Expected(6, 0), step=4) == made
        assert await edit(world, Expected(6), step=4) == made, "what is there already is not made again"
        made = await edit(world, Expected(4, 1), ttl_s=9, history=HistoryRule(1))
        assert made.ttl_ms == 9_000 and made.history is not None
        assert [checkpoint.step for checkpoint in made.history.checkpoints] == [2]

    homes(body)


def test_checkpoints_of_another_version_are_not_taken_over() -> None:
    async def body(world: World) -> None:
        await world.resources.create("", NAME, model="vowels", version="2", history=HistoryRule(8))
        await world.resources.migrate("", NAME, "1")
        await world.step()
        made = await edit(world, Expected(2, 0), step=2, version="2")
        assert made.history is not None and made.history.checkpoints == () and made.rewinds == 1

    homes(body)
