"""Rewinds on every store: what several workers see of them, and what they do when they race."""

import asyncio

import pytest

from service.errors import SessionConflict
from service.sessions import HistoryRule, Record, Resources, Sessions, session_key
from service.sessions.store import Store
from tests.service.sessions.store.records import ROOMY, Create, run
from tests.service.sessions.world import BINDING, NAME, Clock, no_home

KEY = session_key("", NAME)
STATES = {step: b"%d" % (step * 100) for step in range(9)}


class Worker:
    """The rules of sessions in one process; several share a store."""

    def __init__(self, store: Store) -> None:
        self.sessions = Sessions(store, ttl_s=60, clock=Clock())
        self.resources = Resources(self.sessions, no_home, max_ttl_s=60)

    async def begin(self, steps: int) -> None:
        """A session that keeps four states."""
        record = self.sessions.new_record(BINDING, state=STATES[0], step=0)
        assert await self.sessions.put(KEY, None, record)
        await self.resources.change("", NAME, history=HistoryRule(4))
        for at in range(steps):
            assert await self.step(at)

    async def step(self, at: int, rewinds: int = 0) -> Record | None:
        """One step; None if another worker was first."""
        record = await self.sessions.find(KEY)
        digest = b"%016d" % at
        opened = self.sessions.open(KEY, record, BINDING, at=at, digest=digest, rewinds=rewinds)
        await asyncio.sleep(0)  # it is computed
        return await self.sessions.commit(
            opened, BINDING, steps=1, state=STATES[at + 1], digest=digest, reply=b"r", end=False
        )


def kept(record: Record) -> list[int]:
    assert record.history is not None
    for step, state in record.history.checkpoints:
        assert state == STATES[step]
    return [step for step, _ in record.history.checkpoints]


def test_checkpoints_and_rewinds_are_there_for_every_worker(create: Create) -> None:
    async def body(store: Store) -> None:
        one, other = Worker(store), Worker(store)
        await one.begin(6)
        assert kept(await other.resources.read("", NAME)) == [2, 3, 4, 5]
        rewound = await other.resources.rewind("", NAME, 3, at=6, rewinds=0)
        assert (rewound.state, kept(rewound)) == (STATES[3], [2])
        again = await one.resources.rewind("", NAME, 3, at=6, rewinds=0)
        assert again == rewound, "the reply was lost, and another worker is asked"
        assert await one.step(3, rewinds=1)
        with pytest.raises(SessionConflict):
            await other.resources.rewind("", NAME, 3, at=6, rewinds=0)

    run(create(ROOMY), body)


def test_a_step_that_is_computed_during_a_rewind_is_not_applied(create: Create) -> None:
    async def body(store: Store) -> None:
        one, other = Worker(store), Worker(store)
        await one.begin(4)
        before = await one.sessions.find(KEY)
        opened = one.sessions.open(KEY, before, BINDING, at=4, digest=b"d" * 16)
        rewound = await other.resources.rewind("", NAME, 2)
        lost = await one.sessions.commit(
            opened, BINDING, steps=1, state=STATES[5], digest=b"d" * 16, reply=b"r", end=False
        )
        assert lost is None and await one.sessions.find(KEY) == rewound

    run(create(ROOMY), body)


def test_of_equal_rewinds_that_race_one_is_applied(create: Create) -> None:
    async def body(store: Store) -> None:
        workers = [Worker(store) for _ in range(3)]
        await workers[0].begin(5)
        rewound = await asyncio.gather(
            *(worker.resources.rewind("", NAME, 2, at=5, rewinds=0) for worker in workers)
        )
        assert {(record.step, record.rewinds, record.revision) for record in rewound} == {
            (2, 1, rewound[0].revision)
        }

    run(create(ROOMY), body)


def test_steps_and_rewinds_that_race_leave_one_history(create: Create) -> None:
    async def body(store: Store) -> None:
        workers = [Worker(store) for _ in range(2)]
        await workers[0].begin(4)
        for _ in range(8):
            live = await workers[0].resources.read("", NAME)
            await asyncio.gather(
                workers[0].step(live.step, live.rewinds),
                workers[1].resources.rewind("", NAME, kept(live)[-1], rewinds=live.rewinds),
                return_exceptions=True,
            )
            after = await workers[1].resources.read("", NAME)
            assert after.state == STATES[after.step]
            assert kept(after) == sorted(set(kept(after))) and max(kept(after), default=-1) < after.step
            if not kept(after):
                await workers[0].step(after.step, after.rewinds)

    run(create(ROOMY), body)
