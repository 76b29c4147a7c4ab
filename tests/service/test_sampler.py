"""Metrics that are read from the parts: gauges follow, counts of a part that begins again do not decrease."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from service.memory import MemoryBudget
from service.metrics import Metrics, Registry, Turns, add_up
from service.repository import Hardware, Loader, Repository
from service.sampler import Growing, Sampler
from service.sessions import Limits, Sessions, SteadyClock
from service.sessions.store.memory import MemoryStore
from tests.service import graphs
from tests.service.http.gates import make_gate, readiness
from tests.service.http.test_readiness import DownStore
from tests.service.loading import BATCHING

NAME = "uniform"


class World:
    """A sampler of one model, and what it shows."""

    def __init__(self, folder: Path, store: MemoryStore | None = None) -> None:
        self.folder = graphs.UNIFORM.write(folder)
        self.loader = Loader(BATCHING, Hardware("cpu", 1))
        self.repository = Repository([self.loader.load(self.folder)])
        self.store = store or MemoryStore(Limits())
        self.budget, self.turns, self.num_policy_faults = MemoryBudget(100), Turns(), 0
        self.sampler = Sampler(
            Metrics(Registry()),
            repository=self.repository,
            sessions=Sessions(self.store, ttl_s=60, clock=SteadyClock(None)),
            readiness=readiness(store=self.store),
            budget=self.budget,
            turns=self.turns,
            num_policy_faults=lambda: self.num_policy_faults,
        )

    @property
    def model(self) -> Any:
        return next(iter(self.repository))

    async def shown(self, name: str, *labels: str) -> float | None:
        """The value of a series now; None: it has none yet."""
        await self.sampler.sample()
        await self.sampler.look()
        registry = self.sampler.metrics.registry
        series = add_up(registry.described, registry.read).get(name, {})
        return series[labels][0] if labels in series else None


def test_the_steps_of_a_version_add_up_over_its_reloads(tmp_path: Path) -> None:
    async def body() -> None:
        world = World(tmp_path)
        for total in (3.0, 6.0, 9.0):  # the second and third by a scheduler that begins at 0
            world.model.worker.scheduler.counts.add(rows=1, longest=4, steps=3)
            assert await world.shown("cellgate_steps", NAME, "1") == total
            assert await world.shown("cellgate_padded_steps", NAME, "1") == total / 3
            world.repository.add(world.loader.load(world.folder))
        last = await world.shown("cellgate_last_call_timestamp_seconds", NAME, "1")
        assert last is not None and last > 1.6e9

    asyncio.run(body())


def test_faulty_policies_are_shown_until_they_are_corrected(tmp_path: Path) -> None:
    async def body() -> None:
        world = World(tmp_path)
        for number in (0, 2, 0):
            world.num_policy_faults = number
            assert await world.shown("cellgate_policy_faults") == number

    asyncio.run(body())


def test_a_version_that_retires_and_is_unloaded_is_shown_as_that(tmp_path: Path) -> None:
    async def body() -> None:
        world = World(tmp_path)
        model = world.model
        labels = (NAME, "1", model.binding.graph.hex(), "CPUExecutionProvider")
        assert await world.shown("cellgate_model_info", *labels, "served") == 1
        world.repository.retire(NAME, "1", 0)
        assert await world.shown("cellgate_model_info", *labels, "served") == 0
        assert await world.shown("cellgate_model_info", *labels, "retired") == 1
        world.repository.remove(model)
        assert await world.shown("cellgate_model_info", *labels, "retired") == 0
        assert await world.shown("cellgate_queue_sequences", NAME, "1") == 0

    asyncio.run(body())


def test_gauges_and_counts_of_parts_are_those_of_now(tmp_path: Path) -> None:
    async def body() -> None:
        world = World(tmp_path)
        world.sampler.watch(make_gate(), None)
        world.turns.num_long, world.store.num_evicted = 4, 2
        world.budget.take(64)
        expected = {
            ("cellgate_loop_stalls",): 4.0,
            ("cellgate_session_events", "evicted"): 2.0,
            ("cellgate_request_memory_bytes",): 64.0,
            ("cellgate_request_memory_limit_bytes",): 100.0,
            ("cellgate_workers",): 1.0,
            ("cellgate_ready",): 1.0,
            ("cellgate_sessions",): 0.0,
            ("cellgate_connections",): 0.0,
            ("cellgate_requests_running",): 0.0,
        }
        assert {key: await world.shown(*key) for key in expected} == expected
        for name in ("process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"):
            assert (await world.shown(name) or 0) > 0, name

    asyncio.run(body())


def test_a_worker_whose_store_is_down_is_not_ready(tmp_path: Path) -> None:
    async def body() -> None:
        assert await World(tmp_path, DownStore(Limits())).shown("cellgate_ready") == 0

    asyncio.run(body())


@pytest.mark.parametrize("values", [[0.0], [1.5, 4.0], [2.0, 2.0, 3.0]])
def test_a_growing_number_becomes_a_counter_of_the_same_sum(values: list[float]) -> None:
    metrics = Metrics(Registry())
    growing = Growing(metrics.loop_stalls.labels())
    grown = [growing.set(value) for value in values]
    registry = metrics.registry
    assert add_up(registry.described, registry.read)["cellgate_loop_stalls"][()] == [values[-1]]
    assert sum(grown) == values[-1]
