"""docs/your-model.md: each recipe runs as printed, its requests are answered, its reference is current."""

import importlib.util
import json
import os
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import ROOT, running
from tests.manifest_reference import PAGE as REFERENCE
from tests.manifest_reference import with_reference
from tests.service.cli.command import run

PAGE = (ROOT / "docs" / "your-model.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
IMPORTS = [command for command in COMMANDS if command.startswith("cellgate import")]
REQUESTS = [json.loads(shlex.split(command)[-1]) for command in COMMANDS if command.startswith("curl")]
# Where the default exporter is not installed, the older one runs the same recipe.
HAS_DEFAULT_EXPORTER = importlib.util.find_spec("onnxscript") is not None


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models directory after all recipes."""
    folder = tmp_path_factory.mktemp("recipes")
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ["KERAS_HOME"] = str(folder / "keras")  # Keras writes a file there when it is imported
    try:
        for code in PYTHON:
            _export(code)
        for command in IMPORTS[1:]:  # the first shows the command alone
            shown = run(*shlex.split(command)[1:], "--models-dir", str(folder / "models"))
            assert shown.exit_code == 0, shown.output
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
    return folder / "models"


def _export(code: str) -> None:
    if not HAS_DEFAULT_EXPORTER:
        older = "functools.partial(torch.onnx.export, dynamo=False)("
        code = "import functools\n" + code.replace("torch.onnx.export(", older)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, "your-model.md", "exec"), {"__name__": "recipe"})


@pytest.fixture(scope="module")
def client(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        running(tmp_path_factory.mktemp("server"), models_dir=str(imported)) as server,
        httpx.Client(base_url=server.url, timeout=30) as opened,
    ):
        yield opened


def test_every_request_of_the_page_is_answered(client: httpx.Client) -> None:
    answered: list[Any] = []
    for body in REQUESTS:
        response = client.post("/predict", json=body)
        assert response.status_code == 200, (body, response.text)
        answered.append(response.json()["predictions"][0])
    tagger, tagger_next, notes, policy, detector, encoder, encoder_next = answered
    assert (tagger["step"], tagger_next["step"]) == (1, 2)
    assert tagger["label"][0] in ("noun", "verb", "other")
    assert policy["outputs"]["action"][0] in (0, 1, 2)
    assert (notes["step"], detector["step"], encoder["step"], encoder_next["step"]) == (1, 1, 1, 2)


def test_every_recipe_is_exact_and_has_sessions(client: httpx.Client) -> None:
    for name in ("tagger", "notes", "policy", "detector", "encoder"):
        (model,) = client.get(f"/models/{name}").json()["models"]
        assert model["exact"], model


def test_the_recipes_are_all_there(imported: Path) -> None:
    names = {"tagger", "notes", "policy", "detector", "encoder"}
    assert {folder.name for folder in imported.iterdir()} == names
    assert len(REQUESTS) == 7


def test_the_reference_of_the_manifests_fields_is_current() -> None:
    page = REFERENCE.read_text()
    assert with_reference(page) == page, "run python -m tests.manifest_reference"
