"""Turns of a session: order, cancellation, deadline, bound."""

import asyncio

import pytest

from service.errors import (
    DeadlineExceeded,
    Overloaded,
)
from service.sessions.turns import MAX_WAITING
from tests.service.sessions.world import (
    KEY,
    World,
    run,
)


def test_turns_come_in_order_and_a_cancelled_waiter_blocks_no_other() -> None:
    async def body(world: World) -> list[int]:
        order: list[int] = []

        async def take(number: int) -> None:
            await world.sessions.turns.take(KEY)
            order.append(number)
            await asyncio.sleep(0)
            world.sessions.turns.release(KEY)

        await world.sessions.turns.take(KEY)
        tasks = [asyncio.create_task(take(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        world.sessions.turns.release(KEY)
        tasks[0].cancel()  # it has got the turn, and is cancelled before it runs
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.sessions.turns.take(KEY)  # free again
        return order

    assert run(body) == [2, 3, 4]


def test_a_waiter_past_its_deadline_leaves_and_the_next_gets_the_turn() -> None:
    async def body(world: World) -> None:
        await world.sessions.turns.take(KEY)
        late = asyncio.create_task(world.sessions.turns.take(KEY, asyncio.get_running_loop().time() + 0.01))
        next_ = asyncio.create_task(world.sessions.turns.take(KEY))
        with pytest.raises(DeadlineExceeded):
            await late
        world.sessions.turns.release(KEY)
        await next_

    run(body)


def test_the_number_of_waiting_requests_is_bounded() -> None:
    async def body(world: World) -> None:
        await world.sessions.turns.take(KEY)
        waiting = [asyncio.create_task(world.sessions.turns.take(KEY)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await world.sessions.turns.take(KEY)
        for task in waiting:
            world.sessions.turns.release(KEY)
            await task

    run(body)
