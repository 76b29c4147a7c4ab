"""The rules of a session, as a table."""

from collections.abc import Awaitable, Callable

import pytest

from service.errors import (
    CellgateError,
    SessionConflict,
    SessionExists,
    SessionGone,
    SessionMismatch,
    UnknownSession,
)
from service.sequence import Start
from service.sessions import Binding, Opened, session_key
from service.sessions.store.base import tenant_of
from tests.service.sessions.world import (
    BINDING,
    FIRST,
    KEY,
    NAME,
    OTHER,
    SECOND,
    TTL_S,
    World,
    deleted,
    ended,
    evicted,
    expired,
    live,
    run,
    swept,
    unknown,
)

TABLE = [
    # the session is …, at, digest → where it runs from, its stored reply, or the error
    (unknown, None, FIRST, 0), (unknown, 0, FIRST, 0), (unknown, 7, FIRST, UnknownSession),
    (deleted, None, FIRST, 0), (deleted, 0, FIRST, 0), (deleted, 4, FIRST, UnknownSession),
    (live, None, FIRST, 4), (live, 4, FIRST, 4), (live, 2, SECOND, b"to 4"),
    (live, 2, OTHER, SessionConflict), (live, 0, FIRST, SessionConflict), (live, 9, FIRST, SessionConflict),
    (ended, None, FIRST, 0), (ended, 0, FIRST, 0), (ended, 2, SECOND, b"to 4"),
    (ended, 2, OTHER, SessionGone), (ended, 4, FIRST, SessionGone),
    (expired, None, FIRST, SessionGone), (expired, 0, FIRST, 0), (expired, 4, FIRST, SessionGone),
    (expired, 2, SECOND, b"to 4"),
    (swept, None, FIRST, SessionGone), (swept, 0, FIRST, 0), (swept, 4, FIRST, SessionGone),
    (evicted, None, FIRST, SessionGone), (evicted, 0, FIRST, 0), (evicted, 4, FIRST, SessionGone),
]  # fmt: skip


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("make", "at", "digest", "expected"),
    TABLE,
    ids=[f"{row[0].__name__}, at {row[1]}, {row[2][:1]!r}" for row in TABLE],
)
def test_what_a_request_may_do(
    make: Callable[[World], Awaitable[None]],
    at: int | None,
    digest: bytes,
    expected: int | bytes | type[CellgateError],
) -> None:
    async def body(world: World) -> None:
        await make(world)
        before = await world.sessions.find(KEY)
        if isinstance(expected, type):
            with pytest.raises(expected):
                await world.open(at, digest)
        elif isinstance(expected, bytes):
            assert (await world.open(at, digest)).reply == expected
        else:
            opened = await world.open(at, digest)
            assert (opened.reply, opened.step) == (None, expected)
            state = opened.resumed.state if opened.resumed else None
            assert state == (b"%d" % expected if expected else None)
        assert await world.sessions.find(KEY) == before, "opening a session changes nothing"

    run(body)


def test_errors_contain_the_current_step_and_the_reason() -> None:
    async def body(world: World) -> None:
        await live(world)
        with pytest.raises(SessionConflict) as conflict:
            await world.open(1)
        assert conflict.value.members == {"step": 4}
        await world.resources.rewind("", NAME, 4)
        with pytest.raises(SessionConflict) as conflict:
            await world.open(1)
        assert conflict.value.members == {"step": 4, "rewinds": 1}
        world.clock.now += TTL_S + 1
        with pytest.raises(SessionGone) as gone:
            await world.open()
        assert gone.value.members == {"reason": "expired", "step": 4}

    run(body)


@pytest.mark.promise(9)
@pytest.mark.parametrize(
    "binding",
    [
        Binding("other", "1", b"graph678"),
        Binding("vowels", "2", b"graph678"),
        Binding("vowels", "1", b"8" * 8),
    ],
)
def test_a_session_stays_with_its_model_version_and_graph(binding: Binding) -> None:
    async def body(world: World) -> None:
        await live(world)
        with pytest.raises(SessionMismatch):
            await world.open(binding=binding)

    run(body)


def test_no_tenant_reaches_another_tenants_session() -> None:
    keys = [session_key(tenant, name) for tenant in ("", "a", "ab") for name in ("x", "ax", "abx", "bx")]
    assert len(set(keys)) == len(keys)
    assert [tenant_of(session_key(tenant, "x")) for tenant in ("", "a")] == [b"", b"a"]


@pytest.mark.parametrize("other", [Binding("other", "1", b"graph678"), Binding("vowels", "2", b"graph678")])
@pytest.mark.parametrize("start", ["auto", "new", "restart"])
def test_a_stored_reply_is_only_for_the_model_that_computed_it(other: Binding, start: Start) -> None:
    async def body(world: World) -> Opened:
        await world.step(0, end=True)
        record = await world.sessions.find(KEY)
        again = world.sessions.open(KEY, record, BINDING, at=0, digest=FIRST, start=start)
        assert again.reply is not None
        return world.sessions.open(KEY, record, other, at=0, digest=FIRST, start=start)

    opened = run(body)
    assert opened.reply is None and opened.step == 0, "a new session of the other model"


GIVEN = [
    # the session is …, at, digest → where it begins, its stored reply, or the error; the state's step is 145
    (unknown, None, FIRST, 145), (unknown, 145, FIRST, 145), (unknown, 0, FIRST, SessionConflict),
    (live, None, FIRST, SessionExists), (live, 145, FIRST, SessionExists), (live, 4, FIRST, SessionConflict),
    (ended, None, FIRST, 145), (ended, 145, FIRST, 145), (expired, None, FIRST, 145),
    (swept, 145, FIRST, 145), (evicted, None, FIRST, 145), (evicted, 2, SECOND, SessionConflict),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "at", "digest", "expected"), GIVEN, ids=[f"{row[0].__name__}, at {row[1]}" for row in GIVEN]
)
def test_a_given_state_begins_a_session_and_replaces_no_live_one(
    make: Callable[[World], Awaitable[None]],
    at: int | None,
    digest: bytes,
    expected: int | type[CellgateError],
) -> None:
    async def body(world: World) -> None:
        await make(world)
        record = await world.sessions.find(KEY)

        def open_given() -> Opened:
            return world.sessions.open(KEY, record, BINDING, at=at, digest=digest, start="given", begin=145)

        if isinstance(expected, type):
            with pytest.raises(expected):
                open_given()
        else:
            opened = open_given()
            assert (opened.step, opened.resumed, opened.reply) == (expected, None, None)

    run(body)


@pytest.mark.parametrize("end", [False, True])
def test_the_request_that_began_a_session_from_a_state_is_answered_once(end: bool) -> None:
    async def body(world: World) -> None:
        async def opened(at: int | None, digest: bytes = FIRST) -> Opened:
            record = await world.sessions.find(KEY)
            return world.sessions.open(KEY, record, BINDING, at=at, digest=digest, start="given", begin=145)

        committed = await world.sessions.commit(
            await opened(145), BINDING, steps=2, state=b"147", digest=FIRST, reply=b"to 147", end=end
        )
        assert committed is not None and (committed.at, committed.step) == (145, 147)
        assert (await opened(145)).reply == b"to 147"
        if end:
            assert (await opened(None)).reply is None, "its client ended it, and may begin again"
            return
        assert (await opened(None)).reply == b"to 147"
        with pytest.raises(SessionExists) as raised:
            await opened(145, SECOND)
        assert raised.value.members == {"step": 147} and 'leave out "state"' in raised.value.detail

    run(body)
