"""The manifest of a network: inputs, states, outputs and provenance, as the service reads them."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import onnxruntime as ort
import pytest

from service.manifest import GRAPH_FILE, Manifest, ParityCheck
from service.repository.folders import read_binding
from tests.training.synthetic import MIXED, SKY, TOKENS, data_of, encoded_data
from tests.training.test_encoders import network_for as encoded_network_for
from tests.training.test_inputs import TASKS, network_for
from training import cells
from training.data.dataset import DataSet, Task
from training.export import export, random_network
from training.export.manifest import describe
from training.export.parity import Parity
from training.model import Network
from training.versions import PACKAGES, package_versions

PARITY = Parity(
    {"y": 1e-7},
    ParityCheck(
        quantile=0.9, graph={"y": (1e-7, 2e-7)}, pytorch={"y": (1e-7, 1e-7)}, limits={"y": (4e-7, 2e-6)}
    ),
)


def manifest_of(network: Network, data: DataSet) -> Manifest:
    return describe(
        network.eval(), data, metrics={"test_loss": 0.5}, parity=PARITY, command="cellgate-train", seed=3
    )


def test_a_classifier_has_probabilities_and_logits() -> None:
    network, data = random_network(cell="lstm", features=3, hidden=8, layers=2, classes=4, seed=0)
    manifest = manifest_of(network, data)
    assert [(output.name, output.kind) for output in manifest.outputs] == [
        ("y", "probabilities"), ("logits", "logits")
    ]  # fmt: skip
    assert manifest.outputs[0].labels == ("0", "1", "2", "3")
    assert manifest.outputs[1].dims == (4,)
    assert manifest.description == "none: random weights: LSTM, 2 x 8"
    assert [state.shape for state in manifest.states] == [(2, "batch", 8)] * 2


def test_a_forecast_has_a_named_value_for_each_quantile() -> None:
    data = data_of("forecast")
    manifest = manifest_of(network_for(data), data)
    [output] = manifest.outputs
    assert (output.name, output.kind, output.dims) == ("y", "values", (6,))
    assert output.labels == tuple(
        f"a {horizon} q{quantile}"
        for horizon in ("+1 step", "+3 steps")
        for quantile in ("0.05", "0.5", "0.95")
    )
    assert [(one.feature, one.steps, one.quantile) for one in output.forecasts] == [
        ("a", steps, quantile) for steps in (1, 3) for quantile in (0.05, 0.5, 0.95)
    ]


def test_every_kind_of_input_is_described() -> None:
    data = data_of("forecast")
    numbers, sky, hour = manifest_of(network_for(data), data).inputs
    assert (numbers.kind, numbers.features, numbers.units, numbers.missing) == (
        "numeric", ("a", "b"), ("m", "s"), "nan"
    )  # fmt: skip
    assert (sky.kind, sky.dtype, sky.vocabulary) == ("token", "int64", SKY)
    assert (hour.dims, hour.missing) == ((1,), "error")
    assert [input_.name for input_ in MIXED] == [numbers.name, sky.name, hour.name]
    film, *_ = manifest_of(encoded_network_for(encoded_data()), encoded_data()).inputs
    assert (film.kind, film.dims) == ("video", (7, 5))


def test_states_of_gaps_come_before_those_of_the_cell() -> None:
    data = data_of("label")
    manifest = manifest_of(network_for(data), data)
    assert [state.input for state in manifest.states] == ["x_seen", "x_age", "h", "c"]
    assert [state.output for state in manifest.states] == ["x_seen_out", "x_age_out", "h_out", "c_out"]
    assert [state.shape[0] for state in manifest.states] == [1, 1, 2, 2]


@pytest.mark.parametrize("cell", cells.names())
def test_the_manifest_names_the_tensors_of_the_graph(cell: str, tmp_path: Path) -> None:
    network, data = random_network(cell=cell, features=3, hidden=8, layers=2, classes=4, seed=0)
    manifest = export(network, data, tmp_path / "1", metrics={}, command="", seed=0)
    session = ort.InferenceSession(tmp_path / "1" / GRAPH_FILE)
    declared = {node.name: node.shape for node in session.get_inputs()}
    assert set(declared) == {"x", "lengths", *(state.input for state in manifest.states)}
    for state in manifest.states:
        assert declared[state.input] == list(state.shape)
    outputs = {node.name for node in session.get_outputs()}
    assert outputs == {*(one.name for one in manifest.outputs), *(state.output for state in manifest.states)}
    assert manifest.causal is network.cell.causal
    assert read_binding(tmp_path / "1").graph == _graph_hash(tmp_path / "1")


@pytest.mark.parametrize("task", TASKS)
def test_sessions_of_an_export_are_bound_to_its_graph_alone(task: Task, tmp_path: Path) -> None:
    """So sessions that began before fingerprints covered the manifest continue."""
    data = data_of(task)
    export(network_for(data), data, tmp_path / "1", metrics={}, command="", seed=0)
    assert read_binding(tmp_path / "1").graph == _graph_hash(tmp_path / "1")


def _graph_hash(folder: Path) -> bytes:
    return hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]


@pytest.mark.parametrize("task", TASKS)
def test_a_manifest_survives_its_file(task: Task, tmp_path: Path) -> None:
    data = data_of(task)
    manifest = manifest_of(network_for(data), data)
    (tmp_path / "m").mkdir()
    manifest.write(tmp_path / "m")
    (tmp_path / "m" / GRAPH_FILE).write_bytes(b"")
    assert json.loads((tmp_path / "m" / "model.json").read_text())["task"] == task
    assert Manifest.read(tmp_path / "m") == manifest


def test_the_provenance_has_the_command_the_seed_and_the_versions() -> None:
    data = data_of("language")
    provenance = manifest_of(network_for(data), data).provenance
    assert provenance is not None
    assert (provenance.command, provenance.seed, provenance.parity) == ("cellgate-train", 3, {"y": 1e-7})
    assert provenance.parity_check == PARITY.check
    assert provenance.versions == package_versions()
    age = datetime.now(UTC) - datetime.fromisoformat(provenance.created)
    assert 0 <= age.total_seconds() < 60


def test_the_versions_are_those_of_python_and_the_packages_that_decide_a_result() -> None:
    versions = package_versions()
    assert set(versions) == {"python", *PACKAGES}
    assert all(version[0].isdecimal() for version in versions.values())


def test_a_tokenizer_is_part_of_the_input() -> None:
    data = data_of("language")
    [input_] = manifest_of(network_for(data), data).inputs
    assert (input_.vocabulary, input_.tokenizer) == (TOKENS[0].vocabulary, None)
