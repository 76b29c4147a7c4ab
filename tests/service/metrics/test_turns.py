"""Long turns of the event loop are counted and reported."""

import asyncio
import logging
import time

import pytest

from service.metrics import Turns


def test_long_turns_are_counted_and_reported_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns()
    with caplog.at_level(logging.WARNING):
        for late_s, now_s in [(0.01, 1.0), (0.2, 2.0), (0.3, 3.0), (0.1, 4.0), (0.06, 13.0)]:
            turns.add(late_s, now_s)
    assert (turns.num_long, turns.longest_s) == (4, 0.3)
    first, second = caplog.messages
    assert "took 200 ms or more" in first and first.endswith(": 1") and second.endswith(": 3")


def test_a_turn_that_blocks_the_loop_is_found() -> None:
    async def body() -> None:
        turns = Turns(every_s=0.001, limit_s=0.01)
        watch = asyncio.create_task(turns.watch())
        while not turns.num_long:
            await asyncio.sleep(0.002)  # the timer is set
            time.sleep(0.05)
        watch.cancel()
        assert turns.longest_s > 0.01

    asyncio.run(asyncio.wait_for(body(), 30))
