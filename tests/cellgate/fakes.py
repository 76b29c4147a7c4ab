"""A model whose state shows a lost, doubled or swapped step; a clock that only sleeping moves."""

import asyncio
from typing import Any

import numpy as np

from cellgate import AsyncClient, Client
from cellgate.core import Timing
from cellgate.predictions import Array
from cellgate.testing import FakeModel, FakeServer

WIDTH = 2


def mix(x: Array, state: Any) -> tuple[Array, Any]:
    """A recurrence in float32: its result depends on the order and number of the steps, and on every bit."""
    outputs = []
    h = np.zeros(WIDTH, np.float32) if state is None else state
    for row in x:
        h = np.tanh(np.float32(0.7) * h + row)
        outputs.append(h)
    return np.stack(outputs), h


class SleepyClock:
    """Time that passes only while a client waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)  # others run meanwhile


def fake_server() -> FakeServer:
    return FakeServer({"mix": FakeModel(mix, dims=(WIDTH,))})


def client_of(server: FakeServer, clock: SleepyClock, chance: float = 0.5, **options: Any) -> Client:
    """A client whose waits take no time."""
    timing = Timing(clock, lambda: chance)
    return Client(transport=server, sleep=clock.sleep, timing=timing, **options)


def async_client_of(server: FakeServer, clock: SleepyClock) -> AsyncClient:
    """The same, of asyncio."""
    return AsyncClient(transport=server, sleep=clock.sleep_async, timing=Timing(clock, lambda: 0.5))
