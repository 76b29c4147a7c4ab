"""Draining on signals: new requests are refused, running ones finish, then the server's own handler runs."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from service.http.messages import Request
from service.predict import Reply
from service.server.drain import drain_on_signals
from tests.service.http.gates import make_gate


@pytest.fixture
def stops() -> Iterator[list[int]]:
    """The signals that reach the handler that was installed before, as uvicorn's is."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _frame: received.append(number))
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


def test_running_requests_finish_and_new_ones_are_refused(stops: list[int]) -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def answer(body: bytes) -> Reply:
            await release.wait()
            return Reply(body)

        gate = make_gate(answer)
        drain_on_signals(gate, drain_s=30)
        route = gate.router.find("POST", "/predict")
        running = asyncio.create_task(gate.answer(Request("POST", "/predict", []), route))
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.12)
        assert gate.is_draining and stops == []
        assert (await gate.answer(Request("POST", "/predict", []), route)).status == 503
        release.set()
        assert (await running).status == 200
        while not stops:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert stops == [signal.SIGTERM]


def test_the_wait_is_bounded(stops: list[int]) -> None:
    async def work() -> None:
        gate = make_gate()
        gate.num_running = 1  # a request that never ends
        drain_on_signals(gate, drain_s=0.1)
        signal.raise_signal(signal.SIGINT)
        while not stops:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert stops == [signal.SIGINT]


def test_a_second_signal_stops_at_once(stops: list[int]) -> None:
    async def work() -> None:
        gate = make_gate()
        gate.num_running = 1
        drain_on_signals(gate, drain_s=3600)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        assert stops == [signal.SIGTERM]

    asyncio.run(asyncio.wait_for(work(), 60))
