"""A shadow version: forks of sessions, their comparison, and what it never does to a client's request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from service.metrics import Comparison, Metrics, Registry, Scrape, ShadowCounts, add_up
from service.metrics.shadows import comparisons
from service.predict import Generator, Predictor, Shadows
from service.predict import shadow as shadow_module
from service.repository.choice import Agreed, Choice
from service.sequence import Result
from service.sequence import Sequence as Steps
from service.sessions import HistoryRule, Record, Resources, migrate_all, session_key, shadow_key
from service.sessions.store import Write
from tests.service.api.parts import sample_nothing
from tests.service.predict.parts import LETTERS, SUMS, LetterSums, Parts, SessionSums, build_model, run

KEY = shadow_key(session_key("", "s"))


class Doubling(SessionSums):
    """Its sums grow twice as fast."""

    def _step(self, sequence: Steps, start: int, stop: int) -> Result:
        if (sequence.inputs[0] == self.fail_on).any():
            raise RuntimeError("a shadow that fails")
        sums = sequence.state[0] + 2 * np.cumsum(sequence.inputs[0][start:stop], axis=0)
        return Result(sums if sequence.keep_all else sums[-1:], (sums[-1].astype(np.float32),))


class Shadowed:
    """Version 1 answers; version 2 is its shadow."""

    def __init__(self, engine: type[SessionSums] = Doubling) -> None:
        self.parts = Parts("1", "2")
        self.engine = engine()
        self.parts.repository.add(build_model("m", "2", SUMS, self.engine))
        self.metrics = Metrics(Registry())
        self.shadows = Shadows(self.parts.repository, self.parts.sessions, self.metrics)
        self.parts.predictor = Predictor(
            self.parts.repository, self.parts.sessions, max_sequences=4, max_steps=20, timeout_s=10,
            clock=asyncio.get_running_loop().time, shadows=self.shadows,
        )  # fmt: skip
        self.task = asyncio.get_running_loop().create_task(self.shadows.run())
        self.choose("2")

    def choose(self, shadow: str | None) -> None:
        self.parts.repository.agree({"m": Agreed(Choice("1", shadow=shadow))})

    async def step(self, *values: float, **fields: Any) -> dict[str, Any]:
        steps = [[value] for value in values]
        (answer,) = await self.parts.predict({"steps": steps, "session": "s", **fields})
        await self.shadows.join()
        return answer

    async def fork(self) -> Record | None:
        """The stored record of the session's fork."""
        return await self.parts.store.get(KEY)

    async def compared(self) -> Comparison:
        (found,) = await Scrape(self.metrics, sample_nothing).comparisons("m", "2")
        return found


def shadowed(work: Callable[[Shadowed], Awaitable[None]]) -> None:
    """Run a test on an event loop; the queue's task ends with it."""

    async def body() -> None:
        world = Shadowed()
        try:
            await work(world)
        finally:
            world.task.cancel()

    run(body)


def test_a_fork_runs_beside_its_session_from_step_0() -> None:
    async def work(world: Shadowed) -> None:
        answers = [await world.step(1.0, 2.0), await world.step(4.0)]
        assert [answer["output"] for answer in answers] == [[3.0], [7.0]], "the client's own version"
        fork = await world.fork()
        assert fork is not None and (fork.version, fork.step) == ("2", 3)
        assert np.frombuffer(fork.state, np.float32) == [14.0]
        assert await world.compared() == Comparison("1", 3, 5.0, 7.0, 0, 0, 0, 0)
        await world.step(1.0, end=True)
        assert await world.fork() is None, "it ends with its session"
        assert (await world.compared()).steps == 4
        page = await world.parts.store.scan(b"", b"", 9)
        assert page == [], "nothing is left"

    shadowed(work)


def test_a_session_from_a_clients_state_is_forked_at_its_second_request() -> None:
    async def work(world: Shadowed) -> None:
        (first,) = await world.parts.predict([[5.0]], version="1", return_state=True)
        begun = await world.step(2.0, state=first["state"])
        assert (begun["output"], begun["step"]) == ([7.0], 2)
        assert await world.fork() is None, "the shadow has computed nothing that led to the state"
        await world.step(4.0)
        fork = await world.fork()
        assert fork is not None and np.frombuffer(fork.state, np.float32) == [15.0], "7 + 2 * 4"

    shadowed(work)


def test_a_fork_expires_with_its_session_and_no_client_can_name_it() -> None:
    async def work(world: Shadowed) -> None:
        await world.step(1.0)
        session = await world.parts.store.get(session_key("", "s"))
        fork = await world.fork()
        assert session is not None and fork is not None
        assert (fork.ttl_ms, fork.created_ms) == (session.ttl_ms, session.created_ms)
        resources = Resources(world.parts.sessions, world.parts.repository.get, max_ttl_s=60)
        assert [name for name, _ in (await resources.page("")).sessions] == ["s"]
        assert await resources.tenants(9) == [""]
        assert await migrate_all(resources, "m", "2") == (1, 0), "a fork is not a session that is moved"

    shadowed(work)


def test_a_session_that_runs_already_is_forked_where_it_is() -> None:
    async def work(world: Shadowed) -> None:
        world.choose(None)
        await world.step(5.0)
        world.choose("2")
        await world.step(1.0)
        fork = await world.fork()
        assert fork is not None and fork.step == 2
        assert np.frombuffer(fork.state, np.float32) == [7.0], "5 of the session, 2 of the shadow"
        assert (await world.compared()).forked == 1

    shadowed(work)


def test_a_new_session_of_the_same_name_has_a_new_fork() -> None:
    async def work(world: Shadowed) -> None:
        await world.step(5.0)
        await world.parts.sessions.put(
            session_key("", "s"), await world.parts.store.get(session_key("", "s")), None
        )
        before = await world.fork()
        assert before is not None
        before.created_ms -= 1000
        await world.parts.store.commit([Write(KEY, before.revision, before, None)], 0)
        await world.step(1.0)
        fork = await world.fork()
        assert fork is not None and np.frombuffer(fork.state, np.float32) == [2.0]

    shadowed(work)


def test_a_session_that_is_rewound_is_forked_again() -> None:
    """The fork had the steps that the session has forgotten."""

    async def body(world: Shadowed) -> None:
        resources = Resources(world.parts.sessions, world.parts.repository.get, max_ttl_s=60)
        await world.step(1)
        await resources.change("", "s", history=HistoryRule(2))
        await world.step(10)
        await resources.rewind("", "s", 1)
        await world.step(100)
        fork = await world.fork()
        assert fork and (fork.step, fork.rewinds) == (2, 1)
        assert np.frombuffer(fork.state, np.float32).tolist() == [1 + 2 * 100]
        await world.step(1)
        fork = await world.fork()
        assert fork and np.frombuffer(fork.state, np.float32).tolist() == [1 + 2 * 101]

    shadowed(body)


def test_a_fork_that_another_worker_has_moved_on_is_left_alone() -> None:
    async def work(world: Shadowed) -> None:
        await world.step(5.0)
        ahead = await world.fork()
        assert ahead is not None
        ahead.step = 7
        await world.parts.store.commit([Write(KEY, ahead.revision, ahead, None)], 0)
        await world.step(1.0)
        fork = await world.fork()
        assert fork is not None and fork.step == 7
        assert (await world.compared()).dropped == 1

    shadowed(work)


def test_a_shadow_that_fails_never_fails_a_request() -> None:
    async def work(world: Shadowed) -> None:
        await world.step(1.0)
        world.engine.fail_on = 2.0
        assert (await world.step(2.0))["output"] == [3.0]
        world.engine.fail_on = None
        assert (await world.step(3.0))["output"] == [6.0]
        found = await world.compared()
        assert (found.steps, found.failures, found.forked) == (2, 1, 1), "it is forked again"

    shadowed(work)


def test_a_busy_shadow_drops_requests_and_delays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "MAX_BYTES", 8)

    async def work(world: Shadowed) -> None:
        assert (await world.step(1.0))["output"] == [1.0], "8 bytes: an input and an output"
        (answer,) = await world.parts.predict({"steps": [[1.0]] * 3, "session": "s"})
        assert answer["output"] == [4.0]
        world.task.cancel()  # nothing works through the queue
        monkeypatch.setattr(shadow_module, "MAX_BYTES", 1 << 20)
        for number in range(shadow_module.MAX_WAITING + 3):
            (answer,) = await world.parts.predict({"steps": [[1.0]], "session": f"s{number}"})
            assert answer["output"] == [1.0]
        assert (await world.compared()).dropped == 4

    shadowed(work)


def test_states_of_each_step_count_in_the_bytes_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """They did not: 64 requests with large states could wait, whatever their bytes."""
    monkeypatch.setattr(shadow_module, "MAX_BYTES", 35)

    async def work(world: Shadowed) -> None:
        await world.step(1.0, 2.0, 3.0)
        assert (await world.compared()).dropped == 0, "24 bytes: inputs and outputs"
        returned: dict[str, Any] = {"return": ["output", "state", "all"]}
        await world.parts.predict({"steps": [[1.0]] * 3, "session": "t"}, **returned)
        assert (await world.compared()).dropped == 1, "36 bytes"

    shadowed(work)


def test_label_changes_and_numbers_that_are_not_finite_are_counted_apart() -> None:
    metrics = Metrics(Registry())
    counts = ShadowCounts(metrics, "m", "1", "2")
    counts.add(2, np.array([0.5, np.nan, np.inf, 1.5]), 1)
    (found,) = comparisons(add_up(metrics.registry.described, metrics.registry.read), "m", "2")
    assert found == Comparison("1", 2, 1.0, 1.5, 1, 0, 0, 0)
    assert comparisons({}, "m", "2") == []


def test_generated_tokens_are_not_compared() -> None:
    """Both draw their own; only the state is followed."""

    async def body() -> None:
        parts = Parts("1", "2", engine=LetterSums, manifest=LETTERS)
        metrics = Metrics(Registry())
        shadows = Shadows(parts.repository, parts.sessions, metrics)
        predictor = Predictor(
            parts.repository, parts.sessions, max_sequences=4, max_steps=20, timeout_s=10,
            clock=asyncio.get_running_loop().time, shadows=shadows,
        )  # fmt: skip
        parts.repository.agree({"m": Agreed(Choice("1", shadow="2"))})
        task = asyncio.get_running_loop().create_task(shadows.run())
        text = b'{"prompt": ["a", "b"], "max_steps": 3, "session": "s"}'
        await Generator(predictor).generate(text)
        await shadows.join()
        session, fork = await parts.store.get(session_key("", "s")), await parts.store.get(KEY)
        assert session is not None and fork is not None
        assert (fork.step, fork.state, fork.version) == (session.step, session.state, "2")
        task.cancel()

    run(body)
