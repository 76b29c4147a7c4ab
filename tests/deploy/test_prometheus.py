"""Prometheus itself scrapes a real server under load, and answers every query of the dashboard."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.monitoring import dashboard
from deploy.monitoring.panels import ROWS
from tests.e2e.server import START_S, Server, running
from tests.ports import free_port

FOLDER = Path(dashboard.__file__).parent


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """The address of a Prometheus that scrapes `target` with our configuration, every second."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    config["scrape_configs"] = [config["scrape_configs"][0] | {"static_configs": [{"targets": [target]}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The series of a query now, without those that are not numbers; none while Prometheus starts."""
    try:
        reply = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=30)
        reply.raise_for_status()
    except httpx.HTTPError:
        return []
    found: list[dict[str, Any]] = reply.json()["data"]["result"]
    return [series for series in found if math.isfinite(float(series["value"][1]))]


def load(server: Server, end: threading.Event) -> None:
    """Steps of sessions, sequences of different lengths, and errors, until the end."""
    number = 0
    while not end.is_set():
        number += 1
        sequences: list[dict[str, Any]] = [{"steps": [[0.0] * 12] * length} for length in (1, 5, 30)]
        sequences.append({"steps": [[0.0] * 12], "session": f"s{number % 50}"})
        width = 12 if number % 10 else 3
        sequences = sequences if width == 12 else [{"steps": [[0.0] * width]}]
        with contextlib.suppress(httpx.TransportError):  # of the worker that is killed
            httpx.post(f"{server.url}/predict", json={"model": "vowels", "sequences": sequences}, timeout=30)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian: prometheus)")
def test_every_query_of_the_dashboard_has_data_under_load(tmp_path: Path, models_dir: Path) -> None:
    """Also after a worker was killed; and the server's counters never decrease by it."""
    for version in ("1", "2"):
        shutil.copytree(models_dir / "vowels" / "1", tmp_path / "models" / "vowels" / version)
    (tmp_path / "models" / "vowels" / "policy.json").write_text('{"default": "1", "shadow": "2"}')
    with (
        running(tmp_path, workers="2", models_dir=str(tmp_path / "models")) as server,
        prometheus(tmp_path, f"127.0.0.1:{server.port}") as url,
    ):
        end = threading.Event()
        thread = threading.Thread(target=load, args=(server, end))
        thread.start()
        try:
            wait_for(url, "cellgate_request_duration_seconds_count > 5")
            os.kill(server.workers()[0], signal.SIGKILL)
            wait_for(url, 'sum (cellgate_worker_deaths_total{cause="died"}) == 1')
            for row in ROWS:
                for panel in row.panels:
                    for each in panel.queries:
                        wait_for(url, each.expression.replace("$__rate_interval", "30s"))
            assert query(url, "resets(cellgate_steps_total[10m]) > 0") == []
            assert query(url, "resets(cellgate_request_duration_seconds_count[10m]) > 0") == []
            rules = httpx.get(f"{url}/api/v1/rules", timeout=60).json()["data"]["groups"]
            assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}
        finally:
            end.set()
            thread.join()


def wait_for(url: str, expression: str) -> None:
    deadline = time.monotonic() + START_S
    while not query(url, expression):
        assert time.monotonic() < deadline, f"no data: {expression}"
        time.sleep(0.3)
