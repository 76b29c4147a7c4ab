"""Every cell behind a real server: pieces through a session say what one request says, to the last bit."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.server import running
from training import cells
from training.export import export, random_network

FEATURES = 5
CAUSAL = [name for name in cells.names() if name != "bidirectional"]
Steps = list[list[float]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of one random model for each cell, named like it: two layers, normalised input."""
    models = tmp_path_factory.mktemp("models")
    for name in cells.names():
        network, data = random_network(cell=name, features=FEATURES, hidden=24, layers=2, classes=3, seed=0)
        network.learn_normalisation(tuple(3 * sequence + 1 for sequence in data.train.sequences))
        export(network, data, models / name / "1", metrics={}, command="", seed=0)
    folder = tmp_path_factory.mktemp("server")
    with (
        running(folder, models_dir=str(models)) as server,
        httpx.Client(base_url=server.url, timeout=30) as opened,
    ):
        yield opened


def sequence(steps: int, seed: int = 0) -> Steps:
    made: Steps = np.random.default_rng(seed).standard_normal((steps, FEATURES)).round(3).tolist()
    return made


def predict(client: httpx.Client, model: str, *sequences: Any) -> list[dict[str, Any]]:
    body = {"model": model, "sequences": sequences, "return": "all"}
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


@pytest.mark.parametrize("name", CAUSAL)
def test_pieces_through_a_session_say_what_one_request_says(client: httpx.Client, name: str) -> None:
    steps = sequence(17)
    [whole] = predict(client, name, steps)
    said = []
    for start, stop in ((0, 1), (1, 8), (8, 10), (10, 17)):
        piece = {"steps": steps[start:stop], "session": f"of-{name}", "at": start}
        said += predict(client, name, piece)[0]["output"]
    assert said == whole["output"]


@pytest.mark.parametrize("name", cells.names())
def test_who_else_is_in_the_request_changes_no_bit(client: httpx.Client, name: str) -> None:
    several = [sequence(length, seed=length) for length in (3, 40, 1, 12)]
    together = predict(client, name, *several)
    alone = [predict(client, name, one)[0] for one in several]
    assert [found["output"] for found in together] == [found["output"] for found in alone]


@pytest.mark.parametrize("name", cells.names())
def test_a_load_finds_a_cell_exact(client: httpx.Client, name: str) -> None:
    [model] = client.get(f"/models/{name}").json()["models"]
    assert model["exact"] is True


def test_what_reads_from_both_ends_has_no_session(client: httpx.Client) -> None:
    body = {"model": "bidirectional", "sequences": [{"steps": sequence(3), "session": "s"}]}
    refused = client.post("/predict", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "session_not_supported")
    assert "bidirectional" in refused.json()["detail"]
