"""Changes that name the step, on every store: of several workers that race, none undoes another's step."""

import asyncio

import pytest

from service.errors import SessionConflict
from service.sessions import Expected, Record
from service.sessions.changes import Changes
from service.sessions.store import Store
from tests.service.sessions.store.records import ROOMY, Create, run
from tests.service.sessions.store.test_store_rewinds import STATES, Worker
from tests.service.sessions.world import BINDING, NAME


class Editor(Worker):
    """A worker that also replaces states."""

    async def edit(self, state: bytes, at: int, rewinds: int) -> Record:
        """Replace the state at a step."""
        await asyncio.sleep(0)
        new = self.sessions.new_record(BINDING, state=state, step=at)
        expected = Expected(at, rewinds)
        return await Changes(self.sessions).update("", NAME, lambda live: expected.replace(live, new))


@pytest.mark.promise(13)
def test_of_a_step_and_an_edit_that_race_one_is_refused(create: Create) -> None:
    async def body(store: Store) -> None:
        stepper, editor = Editor(store), Editor(store)
        await stepper.begin(0)
        for at in range(8):
            rewinds = (await editor.resources.read("", NAME)).rewinds
            stepped, edited = await asyncio.gather(
                stepper.step(at, rewinds), editor.edit(b"edit", at, rewinds), return_exceptions=True
            )
            after = await editor.resources.read("", NAME)
            if isinstance(edited, Record):
                assert stepped is None or isinstance(stepped, SessionConflict)
                assert (after.step, after.state, after.rewinds) == (at, b"edit", rewinds + 1)
                assert await stepper.step(at, rewinds + 1)
            else:
                assert isinstance(edited, SessionConflict) and isinstance(stepped, Record)
                assert (after.step, after.state, after.rewinds) == (at + 1, STATES[at + 1], rewinds)

    run(create(ROOMY), body)


@pytest.mark.promise(13)
def test_of_edits_that_race_one_is_applied_and_equal_ones_get_its_record(create: Create) -> None:
    async def body(store: Store) -> None:
        workers = [Editor(store) for _ in range(4)]
        await workers[0].begin(2)
        for rewinds, states in enumerate(([b"one", b"two", b"one", b"two"], [b"same"] * 4)):
            results = await asyncio.gather(
                *(worker.edit(state, 2, rewinds) for worker, state in zip(workers, states, strict=True)),
                return_exceptions=True,
            )
            made = [each for each in results if isinstance(each, Record)]
            assert len(made) == states.count(made[0].state) and len({each.revision for each in made}) == 1
            assert all(isinstance(each, Record | SessionConflict) for each in results)
            assert await workers[0].resources.read("", NAME) == made[0]

    run(create(ROOMY), body)


@pytest.mark.promise(13)
def test_a_session_that_has_moved_is_not_deleted(create: Create) -> None:
    async def body(store: Store) -> None:
        one, other = Editor(store), Editor(store)
        await one.begin(1)
        stepped, deleted = await asyncio.gather(
            one.step(1), other.resources.delete("", NAME, expected=Expected(1)), return_exceptions=True
        )
        kept = await one.sessions.store.get(b"\0" + NAME.encode())
        if deleted is None:
            assert kept is None and not isinstance(stepped, Record)
        else:
            assert isinstance(deleted, SessionConflict) and kept == stepped

    run(create(ROOMY), body)
