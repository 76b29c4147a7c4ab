"""SIGTERM and SIGINT: refuse new requests, let running ones finish, then let uvicorn close connections."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from service.http import Gate

TICK_S = 0.05

logger = logging.getLogger(__name__)


def drain_on_signals(gate: Gate, drain_s: float) -> None:
    """Put draining before the handlers that uvicorn has installed. A second signal stops at once.

    `drain_s`: the longest wait for requests that run.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stop = signal.getsignal(number)
        if not callable(stop):  # not under uvicorn: the embedding program decides when to stop
            continue

        def handle(sig: int, frame: FrameType | None, stop: Callable[..., Any] = stop) -> None:
            if gate.is_draining:
                stop(sig, frame)
                return
            gate.start_draining()
            loop.call_soon_threadsafe(
                lambda: loop.create_task(_drain(gate, drain_s, lambda: stop(sig, frame)))
            )

        signal.signal(number, handle)


async def _drain(gate: Gate, drain_s: float, stop: Callable[[], Any]) -> None:
    logger.info("stopping: %d requests in flight, %d streams", gate.num_running, gate.num_streams)
    deadline = time.monotonic() + drain_s
    gate.drain_streams()
    await asyncio.sleep(TICK_S)
    while (gate.num_running or gate.num_streams) and time.monotonic() < deadline:
        await asyncio.sleep(TICK_S)
    stop()
