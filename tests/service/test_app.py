"""The order of start and stop, and what is built from the settings."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import Application, running
from service.errors import StartupError
from service.http.keys import new_key
from service.http.messages import Request
from service.parts import hardware_of, rates_of, tenants_of
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore
from service.settings import Settings
from tests.service.collector import Collector


@pytest.mark.parametrize(
    ("cpus", "settings", "shares"),
    [
        (2, {}, True),
        (2, {"share_cores": False}, False),
        (2, {"workers": 1, "threads": 1}, False),
        (2, {"threads": 2}, False),
        (4, {"workers": 2, "threads": 1}, False),  # there are CPUs enough for the threads of each worker
        (2, {"workers": 4}, False),
        (3, {}, True),
    ],
)
def test_cores_are_shared_where_each_worker_has_one(
    tmp_path: Path, cpus: int, settings: dict[str, Any], shares: bool
) -> None:
    chosen = Settings(sessions_dir=tmp_path / "sessions", **settings).with_cpus(cpus)
    assert chosen.shares_cores is shares
    hardware = hardware_of(chosen, tmp_path)
    assert (tmp_path / "slot-0").exists() is shares
    has_second_cpu = len(os.sched_getaffinity(0)) > 1
    assert (hardware.open_cores() is not None) is (shares and has_second_cpu)


def test_a_server_starts_without_its_shared_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = SecretStr(f"acme={new_key()[1]}")
    settings = Settings(sessions_dir=tmp_path / "sessions", keys=keys).with_cpus(2)
    missing = tmp_path / "missing"
    assert hardware_of(settings, missing).open_cores() is None
    assert "cores are not shared" in caplog.text
    rates_of(tenants_of(settings), missing)
    assert "each worker counts the requests of tenants by itself" in caplog.text


class RecordingStore(MemoryStore):
    """Records when it is opened and closed, and what the service answers at that moment."""

    def __init__(self) -> None:
        super().__init__(Limits())
        self.events: list[str] = []
        self.application: Application | None = None

    async def open(self) -> None:
        self.events.append("store opened")

    async def close(self) -> None:
        state = "not started" if self.application is None else await readiness_of(self.application)
        self.events.append(f"store closed, models {state}")


async def readiness_of(application: Application) -> str:
    request = Request("GET", "/health/ready", [], query=b"sessions=false")
    response = await application.gate.answer(request, application.gate.router.find("GET", request.path))
    return "ready" if response.status == 200 else str(json.loads(response.body)["code"])


def test_the_store_opens_first_and_closes_after_the_models_have_stopped(models_dir: Path) -> None:
    store = RecordingStore()

    async def work() -> None:
        async with running(Settings(store="memory", models_dir=models_dir), store=store) as application:
            store.application = application
            store.events.append(f"running, models {await readiness_of(application)}")
            others = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert others and left == [], "all that repeats has ended"

    asyncio.run(work())
    assert store.events == ["store opened", "running, models ready", "store closed, models draining"]


def test_a_start_that_fails_closes_what_was_opened(tmp_path: Path) -> None:
    store = RecordingStore()

    async def work() -> None:
        async with running(Settings(store="memory", models_dir=tmp_path), store=store):
            pytest.fail("there is no model")

    with pytest.raises(StartupError, match="no model"):
        asyncio.run(work())
    assert store.events == ["store opened", "store closed, models not started"]


def test_a_request_is_one_trace_in_the_log_and_at_the_collector(
    models_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    collector = Collector()
    settings = Settings(
        store="memory", models_dir=models_dir, otel_endpoint=collector.url, log_format="json", models_poll_s=0
    )
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = json.dumps({"sequences": [{"steps": [[0.5] * 12], "session": "s"}]}).encode()

    async def work() -> None:
        async with running(settings) as application:
            gate = application.gate
            headers = [(b"traceparent", f"00-{trace_id}-00f067aa0ba902b7-01".encode())]
            for path, content in (("/predict", body), ("/predict", b"{"), ("/nowhere", b"")):
                request = Request("POST", path, headers[:], content)
                await gate.answer(request, gate.router.find("POST", path))
            health = Request("GET", "/health/live", headers[:])
            await gate.answer(health, gate.router.find("GET", health.path))

    try:
        asyncio.run(work())
    finally:
        collector.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"request"' in line]
    assert [line["trace_id"] for line in lines] == [trace_id] * 4
    requests = {span.span_id.hex(): span for span in collector.spans if span.kind == 2}
    named = [requests[line["span_id"]].name for line in lines[:3]]
    assert named == ["POST /predict", "POST /predict", "POST"] and len(requests) == 3, (
        "none of a health check"
    )
    stages = [span.name for span in collector.spans if span.parent_span_id.hex() == lines[0]["span_id"]]
    assert stages == ["decode", "queue", "run", "commit", "encode"]
    attributes = {one.key: one.value for one in requests[lines[0]["span_id"]].attributes}
    assert (attributes["cellgate.step"].int_value, lines[0]["step"]) == (1, 1)
