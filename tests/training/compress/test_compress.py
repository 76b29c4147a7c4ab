"""Compression: the smallest weights are pruned, the result is measured, and a bad one is not written."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from service.manifest import Manifest
from tests.e2e.server import running
from tests.training.synthetic import data_of
from tests.training.test_inputs import TASKS, network_for
from training import cells
from training.__main__ import main
from training.compress import CompressError, Plan, compress, prune
from training.compress.measure import difference
from training.compress.quantize import quantized
from training.data.dataset import Task
from training.export import random_network
from training.export.network import write_graph
from training.model import Network
from training.run import Run, read


def network_of(cell: str, *, hidden: int = 12, layers: int = 2) -> Network:
    network, data = random_network(cell=cell, features=3, hidden=hidden, layers=layers, classes=4, seed=0)
    network.learn_normalisation(data.train.sequences)
    return network.eval()


def outputs_of(network: Network) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32))
    with torch.no_grad():
        y: torch.Tensor
        y, _ = network(x, torch.tensor([9, 6]), network.initial_state(2))
        return y


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_removing_unused_units_does_not_change_the_output(cell: str) -> None:
    network = network_of(cell)
    unread = [1, 4, 5, 10]
    with torch.no_grad():
        for name in (
            "cell.rnn.weight_hh_l0",
            "cell.rnn.weight_ih_l1",
            "cell.rnn.weight_hh_l1",
            "head.weight",
        ):
            network.get_parameter(name)[:, unread] = 0
    units = prune.largest_units(network, 1 / 3)
    assert [units.tolist() for units in units] == [[0, 2, 3, 6, 7, 8, 9, 11]] * 2
    smaller = network_of(cell, hidden=8)
    prune.copy_units(network, smaller, units)
    torch.testing.assert_close(outputs_of(smaller), outputs_of(network), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", cells.names())
def test_the_smallest_weights_are_pruned_in_every_cell(cell: str) -> None:
    network = network_of(cell)
    masks = prune.weights_masks(network, 0.4)
    parameters = dict(network.named_parameters())
    sizes = {name: parameters[name].detach().abs() for name in masks}
    pruned = torch.cat([sizes[name][mask == 0] for name, mask in masks.items()])
    left = torch.cat([sizes[name][mask == 1] for name, mask in masks.items()])
    assert pruned.max() <= left.min()
    assert len(pruned) / (len(pruned) + len(left)) == pytest.approx(0.4, abs=0.01)
    prune.apply(network, masks)
    assert sum(int((parameters[name] == 0).sum()) for name in masks) == len(pruned)


@pytest.mark.parametrize("cell", cells.names())
def test_half_floats_halve_the_file_and_barely_change_the_output(cell: str) -> None:
    network = network_of(cell, hidden=96)
    _, data = random_network(cell="lstm", features=3, hidden=1, layers=1, classes=4, seed=1)
    whole = write_graph(network).SerializeToString()
    small = quantized(whole, "fp16")
    onnx.checker.check_model(onnx.load_from_string(small), full_check=True)
    assert len(small) < 0.65 * len(whole)
    assert max(difference(whole, small, network, data.test).values()) < 0.02


@pytest.mark.parametrize("cell", [name for name in cells.names() if name != "gru"])
def test_eight_bits_shrink_every_cell_and_barely_change_the_output(cell: str) -> None:
    """The weights of most cells are in the body of a `Scan`; they were once skipped, and the file grew."""
    network = network_of(cell, hidden=96)
    _, data = random_network(cell="lstm", features=3, hidden=1, layers=1, classes=4, seed=1)
    whole = write_graph(network).SerializeToString()
    small = quantized(whole, "int8")
    onnx.checker.check_model(onnx.load_from_string(small))
    assert len(small) < 0.5 * len(whole)
    assert max(difference(whole, small, network, data.test).values()) < 0.1


@pytest.mark.parametrize("task", TASKS)
def test_the_quantizer_logs_nothing(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    """It logs to the root logger, and printed a page for each token input."""
    data, handlers = data_of(task), list(logging.getLogger().handlers)
    network = network_for(data)
    whole = write_graph(network).SerializeToString()
    assert max(difference(whole, quantized(whole, "int8"), network, data.test).values()) < 0.1
    assert not caplog.records
    assert logging.getLogger().handlers == handlers
    logging.getLogger("training").warning("logged")
    assert caplog.messages == ["logged"]


def test_a_file_that_would_grow_is_refused() -> None:
    whole = write_graph(network_of("gru", hidden=8)).SerializeToString()
    with pytest.raises(CompressError, match=f"has {len(whole)} bytes and would have .*Nothing was written"):
        quantized(whole, "int8")


@pytest.mark.parametrize("cell", [name for name in cells.names() if name not in ("lstm", "gru", "rnn")])
def test_units_are_removed_only_from_supported_cells(cell: str) -> None:
    with pytest.raises(
        CompressError, match="units can be removed from the cells lstm, gru and rnn, not from"
    ):
        prune.largest_units(network_of(cell), 0.5)


def test_pruned_weights_stay_zero_while_the_others_are_trained(finished: Run, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in finished.network.state_dict().items()}
    plan = Plan(units=0.25, weights=0.5, epochs=2, max_drop=1)
    report = compress(read(finished.folder), tmp_path / "v" / "2", plan, command="")
    assert (report.before.num_weights, report.after.num_weights) == (
        24 * 4 * (12 + 24) + 9 * 24,
        18 * 4 * 30 + 9 * 18,
    )
    assert report.after.num_zero == round(report.after.num_weights / 2)
    assert report.after.size < 0.75 * report.before.size
    again = read(finished.folder).network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in before.items()), "the run is not changed"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(), "nothing to do"),
        (Plan(units=0.99), "99% of 24 units leave none"),
        (Plan(weights=0.99, epochs=1, max_drop=0), "worse, and at most 0 is allowed .*Nothing was written"),
    ],
)
def test_an_impossible_or_bad_compression_is_not_written(
    finished: Run, plan: Plan, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CompressError, match=message):
        compress(read(finished.folder), tmp_path / "v" / "2", plan, command="")
    assert not list(tmp_path.iterdir())


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["compress", *map(str, words)])


@pytest.mark.parametrize("bits", ["int8", "fp16"])
def test_the_command_writes_a_version_that_is_served_and_a_report(
    finished: Run, bits: str, tmp_path: Path
) -> None:
    to, out = tmp_path / "models" / "small" / "1", tmp_path / "report"
    words = (finished.folder, "--quantize", bits, "--max-drop", "1", "--to", to, "--report", out)
    result = call(*words)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"report.json", "report.md", "report.png"}
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    assert report["after"]["size"] == (to / "model.onnx").stat().st_size < report["before"]["size"]
    assert set(report["after"]["milliseconds"]) == {"one step of one sequence", "50 steps of 32 sequences"}
    manifest = Manifest.read(to)
    assert bits.upper() in manifest.description
    assert manifest.provenance is not None
    assert max(manifest.provenance.parity.values()) > 0
    assert manifest.example is not None
    assert "--force replaces it" in call(*words).output
    with running(tmp_path, models_dir=str(tmp_path / "models")) as server:
        body = {"sequences": [manifest.example.steps]}
        [prediction] = httpx.post(f"{server.url}/predict", json=body, timeout=60).json()["predictions"]
        assert prediction["label"] == manifest.example.label
        assert prediction["output"] == pytest.approx(manifest.example.output, abs=manifest.example.tolerance)


def test_the_next_version_of_the_exported_model_is_the_default(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once created a new model named after the data, and each report replaced the previous one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.folder, tmp_path / "run")
    export = CliRunner().invoke(main, ["export", "models/speakers/1", "--run", "run"])
    assert export.exit_code == 0, export.output
    for bits in ("fp16", "int8"):
        result = call("run", "--quantize", bits, "--max-drop", "1")
        assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"speakers"}
    assert "models/speakers/3: exported" in result.output
    for version, bits in (("2", "FP16"), ("3", "INT8")):
        assert bits in Manifest.read(tmp_path / "models" / "speakers" / version).description
        report = tmp_path / "run" / "compressed" / "speakers" / version / "report.md"
        assert report.read_text().startswith(f"# {bits}")
    shutil.rmtree(tmp_path / "models")
    assert "models/vowels/1: exported" in call("run", "--quantize", "fp16", "--max-drop", "1").output


def test_the_next_version_is_the_default(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.folder, tmp_path / "run", ignore=shutil.ignore_patterns("export.json"))
    (tmp_path / "my-models" / "vowels" / "9").mkdir(parents=True)
    result = call("run", "--quantize", "fp16", "--max-drop", "1", "--report", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "my-models" / "vowels" / "10" / "model.onnx").exists()
