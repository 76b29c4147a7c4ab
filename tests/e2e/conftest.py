"""Fixtures of the end-to-end tests: shared servers, a client, and an utterance."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server, running

Predict = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """The shared servers by number of workers, each started on first use."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(workers: str) -> Server:
            folder = tmp_path_factory.mktemp("server")
            return stack.enter_context(running(folder, workers=workers, max_steps="2000"))

        yield start


@pytest.fixture(scope="session", params=["1", "2"], ids=["one worker", "two workers"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """A server that all tests share and none kills; each test uses its own session names."""
    return servers(request.param)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


@pytest.fixture
def session(request: pytest.FixtureRequest) -> str:
    """A session name unique to the test."""
    name: str = request.node.nodeid
    return name.replace("/", ":").replace(" ", "_")[-128:]


@pytest.fixture
def models(models_dir: Path) -> Path:
    return models_dir


def predict(client: httpx.Client, steps: list[Any], **fields: Any) -> httpx.Response:
    """Post one sequence, with fields such as `session`, `at` and `end`."""
    return client.post("/predict", json={"sequences": [{"steps": steps, **fields}]})


def first(response: httpx.Response) -> dict[str, Any]:
    """The first prediction of a 200."""
    assert response.status_code == 200, response.text
    prediction: dict[str, Any] = response.json()["predictions"][0]
    return prediction
