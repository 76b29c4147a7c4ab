"""A session continues only where its state means the same: the same graph, weights and manifest of states."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from service.manifest import GRAPH_FILE, MANIFEST_FILE
from service.repository.folders import read_binding
from service.repository.load import Hardware, Loader
from tests.service import graphs
from tests.service.repository.test_opening import BATCHING

WIDTH = graphs.WIDTH
SCALED = graphs.ONE_STEP  # with a constant, so its manifest decides what the graph computes


def edit(folder: Path, **changes: Any) -> bytes:
    """The fingerprint after an edit of the manifest in place."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return read_binding(folder).graph


@pytest.fixture
def lstm(tmp_path: Path) -> Path:
    folder = tmp_path / "lstm" / "1"
    folder.mkdir(parents=True)
    _, manifest = graphs.write_lstm(folder)
    manifest.write(folder)
    return folder


def graph_hash(folder: Path) -> bytes:
    return hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]


def test_a_manifest_that_repeats_the_graph_has_the_fingerprint_of_the_graph(lstm: Path) -> None:
    """As it was when sessions that are stored today began."""
    assert read_binding(lstm).graph == graph_hash(lstm)


TEXTS: list[dict[str, Any]] = [
    {"description": "another"},
    {"metrics": {"accuracy": 0.5}},
    {"task": "classify"},
    {"example": None},
    {"non_finite": "allow"},
    {"outputs": [{"name": "y", "dims": [3], "labels": ["a", "b", "c"], "kind": "probabilities"}]},
    {"inputs": [{"name": "steps", "tensor": "x", "dims": [WIDTH], "features": ["f"] * WIDTH}]},
]


@pytest.mark.parametrize("change", TEXTS, ids=lambda change: next(iter(change)))
def test_texts_change_no_fingerprint(change: dict[str, Any], lstm: Path, tmp_path: Path) -> None:
    assert edit(lstm, **change) == graph_hash(lstm)
    kept = {key: value for key, value in change.items() if key not in ("inputs", "outputs")}
    scaled = SCALED.write(tmp_path)
    assert read_binding(scaled).graph == edit(scaled, **kept) != graph_hash(scaled)


H, C = graphs.LSTM_STATES
MEANINGS: dict[str, dict[str, Any]] = {
    "pairs": {"states": [H | {"output": "c_out"}, C | {"output": "h_out"}]},
    "order": {"states": [C, H]},
    "initial": {"states": [H | {"initial": 1.0}, C]},
    "axes": {"axes": {"batch": 1, "time": 0}},
    "time": {"axes": {"time_size": 1}},
    "carry": {"inputs": [{"name": "x", "dims": [WIDTH - 1], "carry": 1}]},
    "per": {"inputs": [{"name": "x", "dims": [WIDTH]}, {"name": "z", "per": "sequence"}]},
    "constants": {"constants": {"scale": 2}},
    "dims": {"inputs": [{"name": "x", "dims": [WIDTH + 1]}]},
    "batch": {"states": [H | {"shape": ["batch", 1, 3]}, C]},
}


@pytest.mark.parametrize("name", MEANINGS)
def test_what_decides_the_next_state_changes_the_fingerprint(name: str, lstm: Path) -> None:
    """Edited in place, such a manifest continued live sessions: their states were read as something else."""
    before = read_binding(lstm).graph
    after = edit(lstm, **MEANINGS[name])
    assert after != before and len(after) == 8
    assert edit(lstm, description="another") == after


def test_a_changed_constant_is_another_version(tmp_path: Path) -> None:
    folder = SCALED.write(tmp_path)
    before = read_binding(folder).graph
    assert edit(folder, constants={"scale": 2}) != before
    assert edit(folder, constants={"scale": 1}) == before


def test_sizes_that_the_graph_fixes_may_be_left_out(tmp_path: Path) -> None:
    folder = graphs.BATCH_OF_ONE.write(tmp_path)
    assert read_binding(folder).graph == edit(folder, axes={})


@pytest.mark.parametrize("kind", graphs.SUMMING, ids=lambda kind: kind.name)
def test_a_loaded_version_has_the_binding_of_its_folder(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    assert Loader(BATCHING, Hardware("cpu", 1)).prepare(folder).binding == read_binding(folder)
