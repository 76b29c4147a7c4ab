"""`GET /metrics` of a real server: right over all workers, also after one was killed; who may read it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.http.keys import new_key
from tests.e2e.server import START_S, Server, running
from tests.ports import free_port

KEY, HASH = new_key()
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]  # by name and labels


@pytest.fixture(scope="module")
def metrics_url() -> str:
    return f"http://127.0.0.1:{free_port()}/metrics"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, metrics_url: str) -> Iterator[Server]:
    """Two workers, with API keys, and a port for the metrics alone."""
    port = str(httpx.URL(metrics_url).port)
    folder = tmp_path_factory.mktemp("server")
    with running(folder, workers="2", keys=f"acme={HASH}", metrics_port=port) as started:
        yield started


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum over all series with these labels."""
    return sum(
        value for (each, pairs), value in found.items() if each == name and labels.items() <= set(pairs)
    )


def step(server: Server, session: str) -> None:
    """One step over a connection of its own, which the kernel gives to any worker."""
    body = {"model": "vowels", "sequences": [{"steps": [[0.0] * 12], "session": session}]}
    httpx.post(f"{server.url}/predict", json=body, headers={"x-api-key": KEY}, timeout=60).raise_for_status()


def wait_for(url: str, name: str, value: float, **labels: str) -> Samples:
    deadline = time.monotonic() + START_S
    while True:
        found = samples(httpx.get(url, timeout=30).text)
        if total(found, name, **labels) >= value:  # what was done before may be counted late
            return found
        assert time.monotonic() < deadline, (name, labels, total(found, name, **labels))
        time.sleep(0.1)


def test_only_those_with_a_key_read_the_metrics_on_the_servers_port(server: Server) -> None:
    assert httpx.get(f"{server.url}/metrics", timeout=60).status_code == 401
    reply = httpx.get(f"{server.url}/metrics", headers={"x-api-key": KEY}, timeout=60)
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain; version=")
    accept = {"x-api-key": KEY, "accept": "application/openmetrics-text; version=1.0.0"}
    reply = httpx.get(f"{server.url}/metrics", headers=accept, timeout=60)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_has_nothing_to_object(server: Server, metrics_url: str) -> None:
    step(server, "promtool")
    text = httpx.get(metrics_url, timeout=60).text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_no_count_is_lost_or_decreases_when_a_worker_is_killed(server: Server, metrics_url: str) -> None:
    before = samples(httpx.get(metrics_url, timeout=60).text)
    done = total(before, "cellgate_request_duration_seconds_count", route="/predict", code="ok")
    for number in range(20):
        step(server, f"s{number}")
    flushed = wait_for(
        metrics_url, "cellgate_request_duration_seconds_count", done + 20, route="/predict", code="ok"
    )
    assert total(flushed, "cellgate_workers") == 2
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    found = wait_for(metrics_url, "cellgate_worker_deaths_total", 1, cause="died")
    for (name, labels), value in flushed.items():
        if name.endswith(("_total", "_count", "_bucket", "_sum")):
            assert found[name, labels] >= value, (name, labels)
    deadline = time.monotonic() + START_S
    while victim in server.workers() or not server.is_ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wait_for(metrics_url, "cellgate_workers", 2)
    for number in range(20):
        step(server, f"s{number}")
    found = wait_for(
        metrics_url, "cellgate_request_duration_seconds_count", done + 40, route="/predict", code="ok"
    )
    assert total(found, "cellgate_engine_call_sequences_sum", model="vowels") >= 40
    assert total(found, "cellgate_steps_total", model="vowels") >= 40
    assert total(found, "cellgate_session_events_total", event="created") >= 20


def test_the_metrics_port_answers_while_the_workers_are_stopped(server: Server, metrics_url: str) -> None:
    pids = server.workers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert total(samples(httpx.get(metrics_url, timeout=30).text), "cellgate_workers") == 2
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
