"""Every cell and task on a real server: pieces through a session equal one request exactly."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from tests.e2e.server import running
from tests.training.synthetic import data_of
from tests.training.test_inputs import TASKS, network_for
from training import cells, evaluate, served_model
from training.config import PoolName
from training.data.dataset import DataSet, Task
from training.explain import explain
from training.export import export, random_network
from training.export.example import steps_of
from training.model import Network

FEATURES = 5
CAUSAL = [name for name in cells.names() if name != "bidirectional"]
POOLS: tuple[PoolName, ...] = ("mean", "attention")
Steps = list[list[float]]


def steep(network: Network) -> Network:
    """The network with weights of the pool, if it has any, that are far from equal."""
    for weight in network.pool.parameters():
        torch.nn.init.normal_(weight, std=3, generator=torch.Generator().manual_seed(0))
    return network


def networks_for(cell: str) -> tuple[Network, DataSet]:
    network, data = random_network(cell=cell, features=FEATURES, hidden=24, layers=2, classes=3, seed=0)
    network.learn_normalisation(tuple(3 * sequence + 1 for sequence in data.train.sequences))
    return network, data


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with a random model for each cell, named after it: two layers, normalised input."""
    models = tmp_path_factory.mktemp("models")
    for name in cells.names():
        network, data = networks_for(name)
        export(network, data, models / name / "1", metrics={}, command="", seed=0)
    for pool in POOLS:
        network, data = random_network(
            cell="gru", features=FEATURES, hidden=24, layers=1, classes=3, seed=0, pool=pool
        )
        export(steep(network), data, models / pool / "1", metrics={}, command="", seed=0)
    for task in TASKS:
        data = data_of(task)
        export(network_for(data), data, models / task / "1", metrics={}, command="", seed=0)
    folder = tmp_path_factory.mktemp("server")
    with (
        running(folder, models_dir=str(models)) as server,
        httpx.Client(base_url=server.url, timeout=30) as opened,
    ):
        yield opened


def sequence(steps: int, seed: int = 0) -> Steps:
    steps_: Steps = np.random.default_rng(seed).standard_normal((steps, FEATURES)).round(3).tolist()
    return steps_


def predict(client: httpx.Client, model: str, *sequences: Any) -> list[dict[str, Any]]:
    body = {"model": model, "sequences": sequences, "return": "all"}
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


@pytest.mark.parametrize("name", [*CAUSAL, *POOLS])
def test_pieces_through_a_session_equal_one_request(client: httpx.Client, name: str) -> None:
    steps = sequence(17)
    [whole] = predict(client, name, steps)
    outputs = []
    for start, stop in ((0, 1), (1, 8), (8, 10), (10, 17)):
        piece = {"steps": steps[start:stop], "session": f"of-{name}", "at": start}
        outputs += predict(client, name, piece)[0]["output"]
    assert outputs == whole["output"]


@pytest.mark.parametrize("name", [*cells.names(), *POOLS])
def test_other_sequences_in_the_request_change_no_bit(client: httpx.Client, name: str) -> None:
    several = [sequence(length, seed=length) for length in (3, 40, 1, 12)]
    together = predict(client, name, *several)
    alone = [predict(client, name, one)[0] for one in several]
    assert [prediction["output"] for prediction in together] == [prediction["output"] for prediction in alone]


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_is_exact_after_loading(client: httpx.Client, name: str) -> None:
    [model] = client.get(f"/models/{name}").json()["models"]
    assert model["exact"] is True


def cut(steps: Any, start: int, stop: int) -> Any:
    return (
        {name: rows[start:stop] for name, rows in steps.items()}
        if isinstance(steps, dict)
        else steps[start:stop]
    )


@pytest.mark.parametrize("task", TASKS)
def test_pieces_of_any_input_equal_one_request(client: httpx.Client, task: Task) -> None:
    """Named inputs, tokens, and nulls that are filled across the cuts."""
    data = data_of(task)
    sequence = max(data.test.sequences, key=len)
    steps = steps_of(network_for(data), sequence)
    [whole] = predict(client, task, {"steps": steps})
    outputs = []
    for start, stop in ((0, 1), (1, 8), (8, 10), (10, len(sequence))):
        piece = {"steps": cut(steps, start, stop), "session": f"of-{task}", "at": start}
        outputs += predict(client, task, piece)[0]["output"]
    assert outputs == whole["output"]
    assert len(outputs) == len(sequence)


@pytest.mark.parametrize("task", TASKS)
def test_other_sequences_in_the_request_change_no_bit_of_a_task(client: httpx.Client, task: Task) -> None:
    data = data_of(task)
    several = [{"steps": steps_of(network_for(data), one)} for one in data.test.sequences[:6]]
    together = predict(client, task, *several)
    assert together == [predict(client, task, one)[0] for one in several]
    [model] = client.get(f"/models/{task}").json()["models"]
    assert model["exact"] is True


@pytest.mark.parametrize(
    ("task", "steps", "pointer"),
    [
        ("language", [1, 2, 99], "/sequences/0/steps/2"),
        ("language", [1, None], "/sequences/0/steps/1"),
        ("label", [[1, 2], [None, "high"]], "/sequences/0/steps/1/1"),
        ("forecast", {"x": [[1, 2]], "sky": [9], "hour": [[1]]}, "/sequences/0/steps/sky/0"),
        ("forecast", {"x": [[1, 2]], "sky": [0], "hour": [[None]]}, "/sequences/0/steps/hour/0/0"),
        ("forecast", {"x": [[1, 2]], "sky": [0, 1], "hour": [[1]]}, "/sequences/0/steps/sky"),
        ("forecast", {"x": [[1, 2]], "sky": [0]}, "/sequences/0/steps"),
    ],
)
def test_the_error_points_at_a_bad_value(client: httpx.Client, task: Task, steps: Any, pointer: str) -> None:
    refused = client.post("/predict", json={"model": task, "sequences": [{"steps": steps}]})
    assert (refused.status_code, refused.json()["pointer"]) == (422, pointer)


def test_a_bidirectional_model_has_no_session(client: httpx.Client) -> None:
    body = {"model": "bidirectional", "sequences": [{"steps": sequence(3), "session": "s"}]}
    refused = client.post("/predict", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "session_not_supported")
    assert "bidirectional" in refused.json()["detail"]


@pytest.mark.parametrize("name", CAUSAL)
def test_explained_states_equal_served_states(client: httpx.Client, name: str) -> None:
    network, data = networks_for(name)
    steps = sequence(9)
    explanation = explain(network, data, np.array(steps, np.float32))
    for at, step in enumerate(steps):
        predict(client, name, {"steps": [step], "session": f"why-{name}", "at": at})
        state = client.get(f"/sessions/why-{name}", params={"state": "true"}).json()["state"]
        for tensor, served_state in state.items():
            ours = np.stack([layer[tensor][at] for layer in explanation.layers])
            np.testing.assert_allclose(np.array(served_state).squeeze(), ours, atol=1e-5)


@pytest.mark.parametrize("piece", [1000, 3])
@pytest.mark.parametrize("task", TASKS)
def test_a_served_model_has_the_scores_of_the_network(client: httpx.Client, task: Task, piece: int) -> None:
    """Many sequences in a request, and each in pieces through a session."""
    data = data_of(task)
    network = network_for(data)
    expected = evaluate.evaluate(network, data, data.test).metrics
    model = served_model.ServedModel(str(client.base_url), task)
    served = served_model.evaluate(model, network, data, data.test, piece_steps=piece).metrics
    assert served == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_a_refusal_and_an_unreachable_server_are_reported(client: httpx.Client) -> None:
    data = data_of("classify")
    for model, message in (
        (served_model.ServedModel(str(client.base_url), "unknown"), "/predict answered 404: .*unknown_model"),
        (served_model.ServedModel(str(client.base_url), "lstm"), "refused a sequence|answered 422"),
        (served_model.ServedModel("http://127.0.0.1:9", "lstm"), "http://127.0.0.1:9/predict: "),
    ):
        with pytest.raises(served_model.ServerError, match=message):
            served_model.evaluate(model, network_for(data), data, data.test)
