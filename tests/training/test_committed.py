"""The committed model agrees with its manifest."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.manifest import GRAPH_FILE, Manifest
from training.batches import in_order
from training.data.dataset import DataSet


@pytest.fixture(scope="module")
def folder(models_dir: Path) -> Path:
    return models_dir / "vowels" / "1"


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.read(folder)


def test_it_is_small_and_valid(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    onnx.checker.check_model(folder / GRAPH_FILE, full_check=True)


def test_its_accuracy_on_the_test_split_is_as_stated(
    folder: Path, manifest: Manifest, vowels: DataSet
) -> None:
    session = ort.InferenceSession(folder / GRAPH_FILE, providers=["CPUExecutionProvider"])
    right = 0
    for x, lengths, targets in in_order(vowels.test, batch_size=64):
        zeros = np.zeros((1, len(x), 128), np.float32)
        feeds = {"x": x.numpy(), "lengths": lengths.numpy().astype(np.int32), "h": zeros, "c": zeros}
        [y] = session.run(["y"], feeds)
        last = y[np.arange(len(x)), lengths.numpy() - 1]
        right += int((last.argmax(axis=1) == targets.numpy()).sum())
    assert right / len(vowels.test) == manifest.metrics["test_accuracy"] > 0.95


def test_it_agreed_with_torch_at_export(manifest: Manifest) -> None:
    assert manifest.provenance is not None
    assert manifest.provenance.command == "cellgate-train train vowels --export models/vowels/1"
    assert manifest.provenance.parity.keys() == {"logits", "h_out", "c_out"}
    assert max(manifest.provenance.parity.values()) <= 1e-5


def test_its_example_is_that_of_the_readme_and_long_enough_to_cut(
    manifest: Manifest, repository: Path
) -> None:
    assert manifest.example is not None
    utterance = json.loads((repository / "docs" / "examples" / "utterance.json").read_text())
    assert utterance == {"model": "vowels", "sequences": [manifest.example.steps]}
    assert 15 <= len(manifest.example.steps) <= 25
