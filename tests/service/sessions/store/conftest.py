"""Stores of each kind, and the Redis servers behind them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.sessions.store import Limits, Store
from service.sessions.store.lmdb import LmdbStore
from service.sessions.store.memory import MemoryStore
from service.sessions.store.redis import RedisStore
from tests.redis_server import RedisServer, needs_redis, redis_server
from tests.service.sessions.store.records import Create


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    """The shared server, empty, as it was configured at its start."""
    shared_server.call("FLUSHALL")
    shared_server.call("CONFIG", "RESETSTAT")
    shared_server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "lmdb", pytest.param("redis", marks=needs_redis)])
def create(request: pytest.FixtureRequest) -> Create:
    """Creates a store of the kind; each is empty."""

    def make(limits: Limits) -> Store:
        if request.param == "memory":
            return MemoryStore(limits)
        if request.param == "lmdb":
            return LmdbStore(Path(tempfile.mkdtemp(dir=request.getfixturevalue("tmp_path"))), limits)
        server = request.getfixturevalue("server")
        server.call("FLUSHALL")
        return RedisStore(server.url, limits)

    return make
