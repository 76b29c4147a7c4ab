"""What waits for a sequence is told once, unless nobody waits any more."""

import asyncio
from functools import partial

import pytest

from service.engine.waiters import Reply, settle_one
from service.errors import CellgateError, Overloaded


@pytest.mark.parametrize("kind", ["one", "several"])
def test_a_waiter_has_the_outcome_of_its_sequence(kind: str) -> None:
    async def settle(error: CellgateError | None) -> None:
        future = asyncio.get_running_loop().create_future()
        settle = partial(settle_one, future) if kind == "one" else Reply(future, 2).settle
        settle(error)
        assert future.done() == (kind == "one" or error is not None)
        settle(None)
        await future

    asyncio.run(settle(None))
    with pytest.raises(Overloaded):
        asyncio.run(settle(Overloaded("full")))


@pytest.mark.parametrize("error", [None, Overloaded("full")])
def test_a_client_that_has_disconnected_is_told_nothing(error: CellgateError | None) -> None:
    async def settle() -> bool:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        settle_one(future, error)
        Reply(future, 1).settle(error)
        return future.cancelled()

    assert asyncio.run(settle())
