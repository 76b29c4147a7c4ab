"""The models beside the first one: small, made as they say, and served like it, whole and in pieces."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from service.manifest import GRAPH_FILE, Manifest
from tests.e2e.server import ROOT, running

MODELS = ROOT / "docs" / "examples" / "models"
PAGE = (ROOT / "docs" / "training.md").read_text()
GENERATE = re.compile(r"\$ curl -s localhost:8000/generate --json '(.*)'\n(.*)\n")
NAMES = sorted(folder.name for folder in MODELS.iterdir())
MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("examples")
    with (
        running(folder, models_dir=str(MODELS)) as server,
        httpx.Client(base_url=server.url, timeout=30) as opened,
    ):
        yield opened


def example(client: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/models/{name}").json()["models"][0]["example"]
    return found


def predict(client: httpx.Client, name: str, sequence: dict[str, Any]) -> dict[str, Any]:
    body = {"model": name, "sequences": [sequence], "return": "all"}
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    prediction: dict[str, Any] = response.json()["predictions"][0]
    return prediction


def cut(steps: Any, start: int, stop: int) -> Any:
    if isinstance(steps, dict):
        return {name: values[start:stop] for name, values in steps.items()}
    return steps[start:stop]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_agreed_with_torch(name: str) -> None:
    folder = MODELS / name / "1"
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    onnx.checker.check_model(folder / GRAPH_FILE, full_check=True)
    provenance = Manifest.read(folder).provenance
    assert provenance is not None
    assert provenance.command.startswith(f"cellgate-train train {name} ")
    assert provenance.command.endswith(f" --export {folder.relative_to(ROOT)}")
    assert provenance.license


@pytest.mark.parametrize("name", NAMES)
def test_its_example_gets_the_answer_that_it_states(client: httpx.Client, name: str) -> None:
    told = example(client, name)
    said = predict(client, name, {"steps": told["steps"]})["output"][-1]
    np.testing.assert_allclose(said, told["output"], rtol=told["tolerance"], atol=told["tolerance"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", NAMES)
def test_in_pieces_through_a_session_it_says_the_same(client: httpx.Client, name: str, size: int) -> None:
    steps = example(client, name)["steps"]
    whole = predict(client, name, {"steps": steps})["output"]
    said = []
    for start in range(0, len(whole), size):
        piece = {
            "steps": cut(steps, start, start + size), "session": f"{name}-by-{size}", "at": start
        }  # fmt: skip
        said += predict(client, name, piece)["output"]
    assert said == whole


def test_moby_goes_on_from_a_text_as_the_page_says(client: httpx.Client) -> None:
    """It once took ids only: its manifest had a vocabulary, and no tokenizer."""
    [(body, shown)] = GENERATE.findall(PAGE)
    first, again = (client.post("/generate", content=body).json() for _ in range(2))
    assert first == again
    assert first["text"] == "".join(first["tokens"]) == json.loads(shown)["text"]
    other = client.post("/generate", json=json.loads(body) | {"seed": 4}).json()
    assert len(other["text"]) == len(first["text"]) and other["text"] != first["text"]


def test_moby_reads_a_text_as_its_characters(client: httpx.Client) -> None:
    by_text = predict(client, "moby", {"text": "Call me Ishmael."})
    assert by_text == predict(client, "moby", {"steps": list("Call me Ishmael.")})
    refused = client.post("/generate", json={"model": "moby", "prompt": "Zürich"})
    assert (refused.status_code, refused.json()["pointer"]) == (422, "/prompt")
    assert "'ü'" in refused.json()["detail"]


def test_every_kind_of_task_is_among_them() -> None:
    assert {Manifest.read(MODELS / name / "1").task for name in NAMES} == {
        "classify",
        "label",
        "forecast",
        "language",
    }
