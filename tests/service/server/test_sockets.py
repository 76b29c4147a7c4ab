"""Addresses: reserved once, bound by every worker, refused while another server has them."""

import logging
import pickle
import resource
import socket
import subprocess
import sys

import pytest

from service.errors import StartupError
from service.server.sockets import WorkerSocket, connections_within


def test_workers_bind_the_address_that_the_parent_has_reserved() -> None:
    reserved = WorkerSocket.reserve("127.0.0.1", 0)
    worker, other = (pickle.loads(pickle.dumps(reserved)) for _ in range(2))
    with reserved, worker, other:
        assert worker.getsockname() == other.getsockname() == reserved.getsockname()
        worker.listen()
        with socket.create_connection(worker.getsockname()):
            pass


def test_an_address_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartupError, match=r"cannot listen on 127\.0\.0\.1"):
            WorkerSocket.reserve("127.0.0.1", taken.getsockname()[1], patience_s=0.2)


def test_an_address_that_is_not_this_hosts_is_refused_at_once() -> None:
    with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:8000"):
        WorkerSocket.reserve("192.0.2.1", 8000)


def limited(soft: int, hard: int, wanted: int) -> list[str]:
    """The connections, the soft limit afterwards, and the log, in a process with these limits."""
    code = f"""
import logging, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from service.server.sockets import connections_within
logging.basicConfig(stream=sys.stdout)
print(connections_within({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()


def test_the_limit_on_files_is_raised_and_bounds_the_connections() -> None:
    assert limited(100, 1024, 500) == ["500 1024"]
    warning, result = limited(256, 1024, 10_000)
    assert "max_connections is 796 for each worker, not 10000" in warning and "1024 files" in warning
    assert result == "796 1024"
    assert limited(64, 64, 10_000)[1] == "8 64"


def test_without_a_limit_the_setting_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlimited = (1024, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with caplog.at_level(logging.WARNING):
        assert connections_within(10_000) == 10_000
    assert not caplog.text
