"""The ASGI application of a worker: it starts and stops the service with the lifespan protocol."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.http import Message
from service.server.worker import WorkerApp
from service.settings import Settings


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Lifespan:
    """A server's side of the lifespan protocol."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Message] = asyncio.Queue()
        self.replies: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, event: str) -> str:
        await self.events.put({"type": event})
        return str((await self.replies.get())["type"])


def test_it_answers_between_start_and_shutdown(tmp_path: Path, models_dir: Path) -> None:
    async def work() -> None:
        app = WorkerApp(Settings(store="memory", models_dir=models_dir), tmp_path)
        lifespan = Lifespan()
        running = asyncio.create_task(app({"type": "lifespan"}, lifespan.events.get, lifespan.replies.put))
        assert await lifespan.send("lifespan.startup") == "lifespan.startup.complete"
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://cellgate") as client:
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.post("/predict", json={"sequences": [[[0.0] * 12]]})).status_code == 200
            app.gate.start_draining()
            assert (await client.get("/health/ready")).json()["code"] == "draining"
        assert await lifespan.send("lifespan.shutdown") == "lifespan.shutdown.complete"
        await running

    asyncio.run(work())


def test_a_process_that_stops_itself_reports_it_to_the_server(tmp_path: Path, models_dir: Path) -> None:
    """Its exit status was 0, as after a stop that was asked for."""

    async def work() -> None:
        app = WorkerApp(Settings(store="memory", models_dir=models_dir), tmp_path)
        stopped = asyncio.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        lifespan = Lifespan()
        running = asyncio.create_task(app({"type": "lifespan"}, lifespan.events.get, lifespan.replies.put))
        assert await lifespan.send("lifespan.startup") == "lifespan.startup.complete"
        app.fail()
        await stopped.wait()
        assert await lifespan.send("lifespan.shutdown") == "lifespan.shutdown.failed"
        await running

    asyncio.run(work())


def test_a_start_that_fails_is_reported_to_the_server(tmp_path: Path) -> None:
    async def work() -> None:
        app = WorkerApp(Settings(store="memory", models_dir=tmp_path), tmp_path)
        lifespan = Lifespan()
        running = asyncio.create_task(app({"type": "lifespan"}, lifespan.events.get, lifespan.replies.put))
        assert await lifespan.send("lifespan.startup") == "lifespan.startup.failed"
        await running

    asyncio.run(work())
