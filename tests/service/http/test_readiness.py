"""Readiness: models, store and draining."""

import asyncio

import pytest

from service.errors import Draining, StoreUnavailable
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore
from tests.service.http.gates import readiness


class DownStore(MemoryStore):
    """Does not answer."""

    async def check(self) -> None:
        raise StoreUnavailable("down")


def test_ready_while_models_and_store_answer() -> None:
    ready = readiness()
    asyncio.run(ready.check())
    ready.is_draining = True
    with pytest.raises(Draining):
        asyncio.run(ready.check())


def test_a_model_whose_worker_died_is_not_ready() -> None:
    with pytest.raises(Draining):
        asyncio.run(readiness(is_alive=False).check(sessions=False))


def test_the_store_counts_only_where_sessions_count() -> None:
    down = readiness(store=DownStore(Limits()))
    asyncio.run(down.check(sessions=False))
    with pytest.raises(StoreUnavailable):
        asyncio.run(down.check())
