"""The second port, for the metrics alone."""

import socket

import httpx
import pytest

from service.errors import StartupError
from service.metrics import Metrics, Registry
from service.server.metrics_port import metrics_port
from service.settings import Settings
from tests.ports import free_port


def test_it_shows_the_metrics_of_now_until_the_end() -> None:
    metrics, port = Metrics(Registry()), free_port()
    with metrics_port(Settings(metrics_port=port), metrics):
        for number in (1, 2):
            metrics.worker_deaths.labels("hung").add()
            reply = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60)
            assert f'cellgate_worker_deaths_total{{cause="hung"}} {number}.0\n' in reply.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60)


def test_a_port_in_use_is_named_and_none_is_opened_by_default() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = Settings(metrics_port=other.getsockname()[1])
        with (
            pytest.raises(StartupError, match=r"cannot listen on 127\.0\.0\.1:\d+ \(metrics_port\)"),
            metrics_port(settings, Metrics(Registry())),
        ):
            pytest.fail("it listens")
    with metrics_port(Settings(), Metrics(Registry())):
        pass
