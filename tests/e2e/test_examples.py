"""The models in docs/examples: small, reproducible by their command, and served whole and in pieces."""

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
PAGE = (ROOT / "docs" / "data-sets.md").read_text()
GENERATE = re.compile(r"\$ curl -s localhost:8000/generate --json '(.*)'\n(.*)\n")
NAMES = sorted(folder.name for folder in MODELS.iterdir())
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("examples")
    with (
        running(folder, models_dir=str(MODELS)) as server,
        httpx.Client(base_url=server.url, timeout=30) as opened,
    ):
        yield opened


def example(client: httpx.Client, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = client.get(f"/models/{name}").json()["models"][0]["example"]
    return shown


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
def test_the_model_is_small_and_names_its_command(name: str) -> None:
    folder = MODELS / name / "1"
    assert sum(path.stat().st_size for path in folder.iterdir()) < MAX_BYTES
    onnx.checker.check_model(folder / GRAPH_FILE, full_check=True)
    provenance = Manifest.read(folder).provenance
    assert provenance is not None
    assert provenance.command.startswith(f"cellgate-train train {name} ")
    assert provenance.command.endswith(f" --export {folder.relative_to(ROOT)}")
    assert provenance.license


@pytest.mark.parametrize("name", NAMES)
def test_the_example_gets_the_output_in_its_manifest(client: httpx.Client, name: str) -> None:
    stated = example(client, name)
    output = predict(client, name, {"steps": stated["steps"]})["output"][-1]
    np.testing.assert_allclose(output, stated["output"], rtol=stated["tolerance"], atol=stated["tolerance"])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", NAMES)
def test_pieces_in_a_session_give_the_same_output(client: httpx.Client, name: str, size: int) -> None:
    steps = example(client, name)["steps"]
    whole = predict(client, name, {"steps": steps})["output"]
    outputs = []
    for start in range(0, len(whole), size):
        piece = {
            "steps": cut(steps, start, start + size), "session": f"{name}-by-{size}", "at": start
        }  # fmt: skip
        outputs += predict(client, name, piece)["output"]
    assert outputs == whole


def test_moby_continues_a_text_as_the_page_shows(client: httpx.Client) -> None:
    """It accepted only ids when its manifest had a vocabulary and no tokenizer."""
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


def test_the_examples_cover_every_task() -> None:
    assert {Manifest.read(MODELS / name / "1").task for name in NAMES} == {
        "classify",
        "label",
        "forecast",
        "language",
    }
