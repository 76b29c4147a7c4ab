"""One real server for all tests of the client: the committed model, and one of each kind of input."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellgate import Client
from tests.e2e import graphs
from tests.e2e.server import Server, running
from tests.service import input_models
from tests.service.graphs import GATED

KINDS = (
    "buttons",
    "gated",
    "glucose",
    "letters",
    "scalar",
    "station",
    "voice",
    "weather",
)  # loading each takes a second


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Server]:
    written, root = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("client-models")
    input_models.write_all(written)
    graphs.write_all(written)
    GATED.write(written)
    for folder in (*(written / kind for kind in KINDS), models_dir / "vowels"):
        shutil.copytree(folder, root / folder.name)
    with running(tmp_path_factory.mktemp("client-server"), models_dir=str(root)) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A session name unique to the test."""
    node: str = request.node.nodeid
    return node.replace("/", ":").replace(" ", "_")[-128:]
