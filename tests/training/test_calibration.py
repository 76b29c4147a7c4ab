"""Calibration: a known scaling is recovered, bands hold their share, and the graph is calibrated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from service.manifest import GRAPH_FILE, Manifest
from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training import calibration, run
from training.__main__ import main
from training.calibration import calibrate, describe, fitted_margins, fitted_temperature
from training.config import Config, Recipe
from training.data.dataset import DataSet, Split, Task
from training.evaluate import evaluate, predict
from training.export import export
from training.export.example import example
from training.export.network import write_graph
from training.export.parity import check
from training.tasks import of
from training.tasks.classes import log_probabilities, probabilities


def answered(temperature: float, *, count: int = 5000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes drawn with the probabilities softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = (temperature * 2 * rng.standard_normal((count, 4))).astype(np.float32)
    shares = probabilities(logits / temperature).cumsum(axis=1)
    return logits, np.minimum((rng.random((count, 1)) > shares).sum(axis=1), 3)


@given(st.floats(0.2, 8), st.integers(0, 99))
@settings(max_examples=15)
def test_a_known_temperature_is_recovered(temperature: float, seed: int) -> None:
    logits, targets = answered(temperature, seed=seed)
    found = fitted_temperature(logits, targets)
    assert found == pytest.approx(temperature, rel=0.15)
    before, after = (
        float(-log_probabilities(logits / one)[np.arange(len(targets)), targets].mean()) for one in (1, found)
    )
    assert after <= before, "applied only where it lowers the loss"


def test_calibrated_logits_keep_their_temperature() -> None:
    fitted = [fitted_temperature(*answered(1.0, count=200, seed=seed)) for seed in range(20)]
    assert fitted.count(1.0) >= 16, "of 20 tests at 5 %, few are significant by chance"


def test_few_answers_without_an_error_do_not_make_a_network_certain() -> None:
    targets = np.arange(27) % 3
    logits = np.log(np.array([0.97, 0.02, 0.01], np.float32))[(np.arange(3) - targets[:, None]) % 3]
    assert fitted_temperature(logits, targets) == 1.0
    certain = fitted_temperature(np.tile(np.eye(3, dtype=np.float32), (100, 1)), np.tile(np.arange(3), 100))
    assert certain > 1 / calibration.LARGEST
    assert probabilities(np.eye(3) / certain).max() == pytest.approx(1 - 1 / 302)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.zeros((0, 3), np.float32), []),
        (np.full((4, 2), np.nan, np.float32), [0, 1, 1, 0]),
        (np.zeros((4, 2), np.float32), [0, 1, 1, 0]),
        (np.zeros((4, 1), np.float32), [0, 0, 0, 0]),
    ],
)
def test_nothing_is_fitted_to_answers_that_say_nothing(logits: np.ndarray, targets: list[int]) -> None:
    assert fitted_temperature(logits, np.array(targets, np.int64)) == 1.0


@given(st.integers(9, 300), st.floats(0.01, 3), st.integers(0, 99))
def test_a_margin_makes_the_band_hold_its_share_and_no_wider_than_needed(
    count: int, width: float, seed: int
) -> None:
    truth = np.random.default_rng(seed).standard_normal((count, 2))
    low, high = np.full_like(truth, -width), np.full_like(truth, width)
    margins = fitted_margins(low, high, truth, share=0.95 - 0.05)
    held = (np.abs(truth) <= width + margins + 1e-12).sum(axis=0)
    assert (held >= 0.9 * (count + 1) - 1e-6).all()
    less = (np.abs(truth) <= width + margins * (1 - 1e-9)).sum(axis=0)
    assert ((margins == 0) | (less < 0.9 * (count + 1) - 1e-6)).all()


def test_unknown_values_do_not_count_and_too_few_have_no_margin() -> None:
    truth = np.array([[2.0, np.nan]] * 9 + [[np.nan, 1.0]] * 8)
    margins = fitted_margins(np.full_like(truth, -1), np.full_like(truth, 1), truth, share=0.9)
    assert margins[0] == 1.0
    assert np.isnan(margins[1]), "8 values: the band would have to be infinite"


def overconfident() -> tuple[DataSet, Split]:
    """Labels drawn with a third of the logits of the network of `network_for`, on every step."""
    data = data_of("label", count=60)
    network = network_for(data)
    with torch.no_grad():
        network.head.weight.mul_(40)
    rng = np.random.default_rng(1)
    targets = np.empty(60, dtype=object)
    for row, sequence in enumerate(data.train.sequences):
        x = torch.from_numpy(sequence)[None]
        y, _ = network(x, torch.tensor([len(sequence)]), network.initial_state(1))
        share = probabilities(y[0].detach().numpy() / 3)[:, 1]
        targets[row] = (rng.random(len(share)) < share).astype(np.int64)
    split = Split(data.train.sequences, targets)
    return replace(data, train=split, test=split), split


def test_the_graph_has_the_calibrated_probabilities_and_the_manifest_says_so(tmp_path: Path) -> None:
    data, split = overconfident()
    network = network_for(data)
    with torch.no_grad():
        network.head.weight.mul_(40)
    task = of(data)
    raw = predict(network, data.test, task)
    nodes = [node.op_type for node in write_graph(network).graph.node]
    found = calibrate(network, data, split, Recipe())
    metrics = found.metrics(network, task, predict(network, data.test, task))
    temperature = metrics["temperature"]
    assert temperature == pytest.approx(3, rel=0.35)
    scores = evaluate(network, data, data.test).metrics
    assert scores["ece"] == pytest.approx(metrics["validation_ece"], abs=1e-3)
    assert (
        scores["ece"]
        < metrics["test_uncalibrated_ece"]
        == pytest.approx(task.score(network, raw.outputs, raw.targets).metrics["ece"], abs=1e-3)
    )
    assert scores["loss"] < metrics["test_uncalibrated_loss"]
    manifest = export(network, data, tmp_path / "1", metrics=metrics, command="", seed=0)
    assert manifest.metrics["temperature"] == temperature
    assert [node.op_type for node in write_graph(network).graph.node] == nodes
    assert manifest.example is not None
    assert manifest.example == example(network, data)
    served = ort.InferenceSession(tmp_path / "1" / GRAPH_FILE, providers=["CPUExecutionProvider"])
    x = data.test.sequences[0][None]
    zeros = {
        name: np.zeros((layers, 1, width), np.float32) for name, (layers, width) in network.states.items()
    }
    [y] = served.run(["y"], {"x": x, "lengths": np.array([x.shape[1]], np.int32), **zeros})
    expected = probabilities(raw.outputs[: x.shape[1]].astype(np.float64) / temperature)
    np.testing.assert_allclose(y[0], expected, atol=1e-5)


def banded(task: Task) -> DataSet:
    """Two numbers by three quantiles: the horizons of a forecast, or the targets of a regression."""
    data = data_of(task)
    return data if task == "forecast" else replace(data, quantiles=(0.05, 0.5, 0.95))


def shifted(data: DataSet) -> DataSet:
    """Numbers far outside the bands of an untrained network."""
    targets = data.train.targets.copy()
    for row, target in enumerate(targets):
        targets[row] = 8 * target
    split = Split(data.train.sequences, targets)
    return replace(data, train=split, test=split)


@pytest.mark.parametrize("kind", ["forecast", "regress"])
def test_the_graph_has_the_wider_bands(kind: Task) -> None:
    wide = shifted(banded(kind))
    network, task = network_for(banded(kind)), of(wide)
    plain = write_graph(network).SerializeToString()
    raw = predict(network, wide.test, task)
    found = calibrate(network, wide, wide.test, Recipe())
    assert found.metrics(network, task, raw).keys() == {"validation_coverage"}, "only by --conformal"
    assert write_graph(network).SerializeToString() == plain
    found = calibrate(network, wide, wide.test, Recipe(conformal=True))
    answers = predict(network, wide.test, task)
    metrics = found.metrics(network, task, answers)
    names = ("a_+1step", "a_+3steps") if kind == "forecast" else ("a", "bc")
    margins = np.array([metrics[f"conformal_margin_{name}"] for name in names], np.float32)
    assert (margins > 0).all()
    moved = (answers.outputs - raw.outputs).reshape(-1, 2, 3)
    expected = np.broadcast_to(margins[:, None] * [-1, 0, 1], moved.shape)
    np.testing.assert_allclose(moved, expected, atol=1e-4, rtol=1e-5)
    before, after = (
        task.score(network, one.outputs, one.targets).metrics["coverage"] for one in (raw, answers)
    )
    assert before < 0.9 <= after == pytest.approx(metrics["validation_coverage"], abs=0.01)
    assert metrics["test_uncalibrated_coverage"] == pytest.approx(before, abs=0.01)
    graph = write_graph(network).SerializeToString()
    assert graph != plain
    check(graph, network, wide.test)
    network.clear_calibration()
    assert not network.quantiles.margin.any(), "a network that is trained again starts without margins"  # type: ignore[union-attr]


def test_weights_from_before_there_were_margins_have_none() -> None:
    data = data_of("forecast")
    network = network_for(data)
    weights = network.state_dict()
    assert weights.pop("tail.margin").tolist() == [0, 0]
    other = network_for(data)
    assert other.quantiles is not None
    other.quantiles.margin.fill_(1)
    other.load_state_dict(weights)
    assert other.quantiles.margin.tolist() == [0, 0]


def test_a_run_without_a_temperature_has_nothing_to_describe() -> None:
    assert describe({"test_ece": 0.1, "test_coverage": 0.8}) == []


def test_a_margin_that_could_not_be_fitted_is_named() -> None:
    names = ("validation_coverage", "test_coverage", "test_coverage_+1", "test_coverage_+2")
    found = dict.fromkeys(names, 0.8)
    found |= dict.fromkeys(("validation_uncalibrated_coverage", "test_uncalibrated_coverage"), 0.7)
    lines = describe({**found, "conformal_margin_+1": 1.0})
    assert lines[1].endswith("margin of +2")


def test_only_bands_can_be_conformal(tmp_path: Path) -> None:
    config = Config(data="vowels", recipe=Recipe(conformal=True, epochs=1), accelerator="cpu")
    with pytest.raises(run.RunError, match="--conformal: vowels has no bands to widen"):
        run.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_prints_and_keeps_the_coverage_before_and_after(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{room},{step},{rng.normal():.3f}" for room in range(12) for step in range(12)]
    (tmp_path / "t.csv").write_text("room,step,level\n" + "\n".join(rows) + "\n")
    words = ["train", "--data", tmp_path / "t.csv", "--id-column", "room", "--time-column", "step"]
    words += ["--target", "level", "--conformal", "--hidden", 4, "--epochs", 1, "--accelerator", "cpu"]
    words += ["--out", tmp_path / "run", "--export", tmp_path / "m" / "1"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    [line] = describe(metrics)
    assert line in result.output
    assert f"{metrics['test_uncalibrated_coverage']:.1%} (test)" in line
    assert line[1:] in (tmp_path / "run" / "README.md").read_text()
    manifest = Manifest.read(tmp_path / "m" / "1")
    assert manifest.metrics["conformal_margin_level_+1step"] == metrics["conformal_margin_level_+1step"]
