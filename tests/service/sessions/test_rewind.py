"""Rewinds: which steps a session can return to, once each, and what a late request then gets."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from service.errors import CellgateError, InvalidField, SessionConflict, UnknownCheckpoint
from service.sessions import Checkpoint, HistoryLimits, HistoryRule, Record, session_key
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore
from tests.service.sessions.world import (
    BINDING,
    FIRST,
    KEY,
    NAME,
    SECOND,
    World,
    run,
)

LAST = 3


async def kept(world: World, **rule: int) -> None:
    """A session that keeps its past, at step 6 after three requests of two steps each."""
    await world.sessions.put(KEY, None, world.sessions.new_record(BINDING, state=b"0", step=0))
    await world.resources.change("", NAME, history=HistoryRule(**({"last": LAST} | rule)))
    for at in (0, 2, 4):
        await world.step(at, b"%016d" % at)


def test_a_session_returns_to_a_kept_step_and_continues_from_there() -> None:
    async def body(world: World) -> None:
        await kept(world)
        rewound = await world.resources.rewind("", NAME, 2)
        assert (rewound.step, rewound.state, rewound.rewinds) == (2, b"2", 1)
        assert rewound.history and [each.step for each in rewound.history.checkpoints] == [0]
        assert await world.step(2, FIRST) == b"to 4"
        assert (await world.resources.read("", NAME)).step == 4

    run(body)


def test_a_step_that_is_not_kept_is_refused_with_those_that_are() -> None:
    async def body(world: World) -> None:
        await kept(world, last=2)
        with pytest.raises(UnknownCheckpoint) as raised:
            await world.resources.rewind("", NAME, 0)
        assert raised.value.pointer == "/step"
        assert raised.value.members == {"step": 6, "kept": [2, 4, 6]}

    run(body)


def test_a_session_without_checkpoints_can_be_fenced_at_its_own_step() -> None:
    """So that no request from before is applied."""

    async def body(world: World) -> None:
        await world.step(0, FIRST)
        assert (await world.resources.rewind("", NAME, 2)).rewinds == 1
        with pytest.raises(UnknownCheckpoint):
            await world.resources.rewind("", NAME, 0)

    run(body)


def test_the_same_rewind_again_changes_nothing() -> None:
    async def body(world: World) -> None:
        await kept(world)
        for expected in ({"at": 6, "rewinds": 0}, {"at": 2}, {}):
            first = await world.resources.rewind("", NAME, 2, **expected)
            assert await world.resources.rewind("", NAME, 2, **expected) == first, "not even its revision"

    run(body)


@pytest.mark.promise(12)
def test_a_late_copy_of_a_rewind_is_refused_once_the_session_has_moved() -> None:
    async def body(world: World) -> None:
        await kept(world)
        await world.resources.rewind("", NAME, 2, at=6, rewinds=0)
        await world.step(2, FIRST)
        with pytest.raises(SessionConflict) as raised:
            await world.resources.rewind("", NAME, 2, at=6)
        assert raised.value.members == {"step": 4, "rewinds": 1}
        await world.step(4, SECOND)  # at step 6 again, as it was before
        with pytest.raises(SessionConflict):
            await world.resources.rewind("", NAME, 2, at=6, rewinds=0)

    run(body)


@pytest.mark.promise(12)
def test_the_last_request_before_a_rewind_is_not_taken_for_its_retry() -> None:
    async def body(world: World) -> None:
        await kept(world)
        await world.resources.rewind("", NAME, 0)
        with pytest.raises(SessionConflict):
            await world.step(4, b"%016d" % 4)
        await world.resources.rewind("", NAME, 0)
        assert (await world.open(0, b"%016d" % 0)).reply is None, "it runs again"

    run(body)


@pytest.mark.promise(12)
def test_a_request_from_before_a_rewind_is_refused_if_it_says_so() -> None:
    async def body(world: World) -> None:
        await kept(world)
        record = await world.resources.rewind("", NAME, 2)
        sessions = world.sessions
        with pytest.raises(SessionConflict, match="was rewound 1 times, the request says 0"):
            sessions.open(KEY, record, BINDING, at=2, digest=FIRST, rewinds=0)
        opened = sessions.open(KEY, record, BINDING, at=2, digest=FIRST, rewinds=1)
        assert opened.resumed == record

    run(body)


@pytest.mark.parametrize("is_live", [True, False])
def test_without_a_session_no_request_can_follow_a_rewind(is_live: bool) -> None:
    async def body(world: World) -> None:
        if is_live:
            await world.step(0, FIRST)
        record = await world.sessions.find(KEY)
        with pytest.raises(CellgateError):
            world.sessions.open(KEY, record, BINDING, at=0, digest=SECOND, rewinds=1)

    run(body)


def test_a_fork_continues_from_a_kept_step_with_the_checkpoints_before_it() -> None:
    async def body(world: World) -> None:
        await kept(world)
        copy = await world.resources.fork("", NAME, "twin", at=4)
        assert (copy.step, copy.state, copy.rewinds) == (4, b"4", 0)
        assert (await world.resources.rewind("", "twin", 2)).state == b"2"
        assert (await world.resources.read("", NAME)).step == 6

    run(body)


def test_a_fork_can_leave_the_past_behind() -> None:
    async def body(world: World) -> None:
        await kept(world)
        assert (await world.resources.fork("", NAME, "twin", history=HistoryRule(0))).history is None
        with pytest.raises(UnknownCheckpoint) as raised:
            await world.resources.fork("", NAME, "other", at=5)
        assert raised.value.pointer == "/at"

    run(body)


def test_more_checkpoints_than_the_server_allows_are_refused() -> None:
    async def body(world: World) -> None:
        await world.step(0, FIRST)
        with pytest.raises(InvalidField, match="at most 64 checkpoints, got 65") as raised:
            await world.resources.change("", NAME, history=HistoryRule(65))
        assert raised.value.pointer == "/history/last"

    run(body)


def test_the_bytes_of_checkpoints_are_bounded() -> None:
    async def work() -> None:
        world = World(history_limits=HistoryLimits(max_bytes=2))
        await kept(world)
        record = await world.resources.read("", NAME)
        assert record.history and [each.step for each in record.history.checkpoints] == [2, 4]

    asyncio.run(work())


def test_an_ended_session_keeps_nothing() -> None:
    async def body(world: World) -> None:
        await kept(world)
        await world.step(6, FIRST, end=True)
        ended = await world.sessions.find(KEY)
        assert ended is not None and ended.history is None

    run(body)


def test_a_commit_keeps_the_states_that_a_request_has_passed() -> None:
    async def body(world: World) -> None:
        await kept(world, last=3, every=10)
        opened = await world.open(6, FIRST)
        written = await world.sessions.commit(
            opened, BINDING, steps=20, state=b"26", digest=FIRST, reply=b"", end=False,
            passed=[Checkpoint(10, b"10"), Checkpoint(20, b"20")],
        )  # fmt: skip
        assert written and written.history
        assert [tuple(each) for each in written.history.checkpoints] == [(0, b"0"), (10, b"10"), (20, b"20")]

    run(body)


@dataclass
class Expected:
    """A session as the model has it: the sum of its inputs after each request, in order."""

    states: dict[int, int] = field(default_factory=lambda: {0: 0})  # by step; the last one is current
    rewinds: int = 0

    @property
    def step(self) -> int:
        return max(self.states)

    @property
    def kept(self) -> list[int]:
        return sorted(self.states)[-LAST - 1 :]

    def at(self, step: int) -> "Expected":
        return Expected({each: total for each, total in self.states.items() if each <= step}, self.rewinds)


class Interleavings(RuleBasedStateMachine):
    """Steps, rewinds, forks and retries in any order equal a list of sums."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World(store=MemoryStore(Limits()))
        self.expected: dict[str, Expected] = {}
        self.requests: list[tuple[str, int, int, bytes]] = []  # sent before, with a reply or not
        self.digests = iter(range(10**9))

    def teardown(self) -> None:
        self.loop.close()

    async def _request(self, name: str, at: int, rewinds: int, digest: bytes) -> bytes:
        """One request whose steps and number are those of its digest."""
        sessions, key = self.world.sessions, session_key("", name)
        number = int(digest)
        opened = sessions.open(key, await sessions.find(key), BINDING, at=at, rewinds=rewinds, digest=digest)
        if opened.reply is not None:
            return opened.reply
        assert opened.resumed
        total = int(opened.resumed.state) + number
        written = await sessions.commit(
            opened, BINDING, steps=1 + number % 3, state=b"%d" % total, digest=digest,
            reply=b"%d" % total, end=False,
        )  # fmt: skip
        assert written
        return written.reply

    def _state(self, name: str) -> tuple[int, int, int]:
        record: Record = self.loop.run_until_complete(self.world.resources.read("", name))
        return record.step, int(record.state), record.rewinds

    @rule(target=names)
    def create(self) -> str:
        name, world = f"s{len(self.expected)}", self.world
        record = world.sessions.new_record(BINDING, state=b"0", step=0)
        self.loop.run_until_complete(world.sessions.put(session_key("", name), None, record))
        self.loop.run_until_complete(world.resources.change("", name, history=HistoryRule(LAST)))
        self.expected[name] = Expected()
        return name

    @rule(name=names)
    def step(self, name: str) -> None:
        expected, digest = self.expected[name], b"%016d" % next(self.digests)
        at, number = expected.step, int(digest)
        reply = self.loop.run_until_complete(self._request(name, at, expected.rewinds, digest))
        total = expected.states[at] + number
        assert int(reply) == total
        expected.states[at + 1 + number % 3] = total
        self.requests.append((name, at, expected.rewinds, digest))

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """At any later time: it gets the same reply, or is refused, and moves nothing."""
        if not self.requests:
            return
        name, at, rewinds, digest = data.draw(st.sampled_from(self.requests))
        before = self._state(name)
        try:
            reply = self.loop.run_until_complete(self._request(name, at, rewinds, digest))
            assert int(reply) == self.expected[name].states[before[0]]
        except SessionConflict as error:
            assert error.members["step"] == before[0]
        assert self._state(name) == before

    @rule(name=names, data=st.data(), times=st.integers(1, 2))
    def rewind(self, name: str, data: st.DataObject, times: int) -> None:
        expected = self.expected[name]
        step, at, rewinds = data.draw(st.sampled_from(expected.kept)), expected.step, expected.rewinds
        for _ in range(times):
            rewound = self.loop.run_until_complete(
                self.world.resources.rewind("", name, step, at=at, rewinds=rewinds)
            )
            assert (rewound.step, int(rewound.state)) == (step, expected.states[step])
        self.expected[name] = expected.at(step)
        self.expected[name].rewinds += 1

    @rule(target=names, name=names, data=st.data())
    def fork(self, name: str, data: st.DataObject) -> str:
        step, to = data.draw(st.sampled_from(self.expected[name].kept)), f"s{len(self.expected)}"
        self.loop.run_until_complete(self.world.resources.fork("", name, to, at=step))
        self.expected[to] = self.expected[name].at(step)
        self.expected[to].rewinds = 0
        return to

    @rule(name=names)
    def look(self, name: str) -> None:
        expected = self.expected[name]
        assert self._state(name) == (expected.step, expected.states[expected.step], expected.rewinds)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
