"""Addresses: reserved once, bound by every worker, refused while another server has them."""

import pickle
import socket

import pytest

from service.errors import StartupError
from service.server.sockets import WorkerSocket


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
