"""Explanations of every cell, input and task equal the network's own states and outputs."""

import json
from copy import deepcopy
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from matplotlib import image

from tests.training.synthetic import data_of, encoded_data
from tests.training.test_encoders import network_for as encoded_network_for
from tests.training.test_inputs import TASKS, network_for
from training import cells
from training.__main__ import main
from training.data.dataset import DataSet, Sequence, Task
from training.explain import explain
from training.export import random_network
from training.figures import draw_forecast, draw_outputs, draw_saliency
from training.model import Network
from training.run import Run
from training.tasks import of


@pytest.mark.parametrize("name", cells.names())
def test_the_trace_of_every_cell_is_its_own_forward_pass(name: str) -> None:
    torch.manual_seed(1)
    cell = cells.build(name, features=4, hidden=6, layers=3).eval()
    x = torch.randn(1, 11, 4)
    whole, ends = cell(x, torch.tensor([11]), cell.initial_state(1))
    y = x[0]
    for number in range(3):
        start = tuple(part[number] for part in cell.initial_state(1))
        inside, y = cell.trace(number, cell.layer_input(number, y, x[0]), start)
        for state, end in zip(cell.states, ends, strict=True):
            torch.testing.assert_close(inside[state][-1], end[number, 0], atol=1e-6, rtol=1e-5)
        for gate, values in inside.items():
            assert values.shape[0] == 11
            assert "gate" not in gate or ((values >= 0) & (values <= 1)).all()
    torch.testing.assert_close(y[None], whole, atol=1e-6, rtol=1e-5)


def network_of_kind(kind: str) -> tuple[Network, DataSet]:
    """A network and its data: each task, and each kind of input, alone and combined, encoded and not."""
    if kind == "classify":
        return random_network(cell="lstm", features=3, hidden=8, layers=1, classes=4, seed=0)
    if kind == "encoded":  # frames, a projection, a projection of numbers with gaps
        data = encoded_data()
        return encoded_network_for(data), data
    if kind == "projected":  # numbers with gaps, tokens, numbers: numeric inputs projected by the recipe
        data = data_of("forecast")
        network = encoded_network_for(data, projection=3)
        of(data).prepare(network, data)
        return network, data
    data = data_of(cast(Task, kind))
    return network_for(data), data


KINDS = ("classify", *TASKS, "encoded", "projected")


def baseline_output(network: Network, sequence: Sequence) -> torch.Tensor:
    """The network's last output for the baseline: means for numbers, zero embeddings for tokens."""
    copy, x = deepcopy(network), sequence.copy()
    for input_, place in copy.input_layer.slices():
        if input_.kind == "token":
            copy.input_layer.table(input_.name).data.zero_()
        else:
            x[:, place] = np.where(np.isnan(x[:, place]), np.nan, copy.input_layer.shift[place].numpy())
    return last_output(copy, x)


def last_output(network: Network, sequence: Sequence) -> torch.Tensor:
    with torch.no_grad():
        x = torch.from_numpy(sequence)[None]
        y: torch.Tensor
        y, _ = network(x, torch.tensor([len(sequence)]), network.initial_state(1))
        return y[0, -1]


@pytest.mark.parametrize("kind", KINDS)
def test_attributions_add_up_to_the_difference_from_the_baseline(kind: str) -> None:
    """Forecasts once lacked the level that they start from; inputs with an encoder had the wrong shape."""
    network, data = network_of_kind(kind)
    for sequence in data.test.sequences[:4]:
        explanation = explain(network, data, sequence)
        start = baseline_output(network, sequence)[explanation.target]
        difference = float(last_output(network, sequence)[explanation.target] - start)
        assert explanation.saliency.shape == (len(explanation.sequence), len(explanation.input_names))
        assert len(explanation.input_names) == sequence.shape[1]
        assert float(explanation.saliency.sum()) == pytest.approx(difference, rel=1e-3, abs=1e-4)
        assert explanation.start == pytest.approx(float(start), rel=1e-5, abs=1e-6)
        assert explanation.missing <= 1e-3 * max(1, abs(difference))
        if data.has_classes:
            np.testing.assert_allclose(explanation.outputs.sum(axis=1), 1, rtol=1e-5)
            assert explanation.target == explanation.outputs[-1].argmax()


def test_a_forecast_depends_on_the_last_observed_value() -> None:
    """An untrained network forecasts that value: it has the whole contribution, a missing value none."""
    network, data = network_of_kind("forecast")
    with torch.no_grad():
        network.head.weight.zero_()
    sequence = np.hstack([
        np.array([[1, 1], [4, 2], [np.nan, 3]], np.float32), np.zeros((3, 2), np.float32),
    ])  # fmt: skip
    explanation = explain(network, data, sequence)
    expected = np.zeros_like(explanation.saliency)
    expected[1, 0] = 4 - float(network.input_layer.shift[0])
    np.testing.assert_allclose(explanation.saliency, expected, atol=1e-4)


def test_a_long_sequence_is_integrated_in_parts() -> None:
    network, data = network_of_kind("forecast")
    sequence = max(data.test.sequences, key=len)
    whole = explain(network, data, sequence)
    in_parts = explain(network, data, sequence, batch_steps=3 * len(sequence))
    np.testing.assert_allclose(in_parts.saliency, whole.saliency, atol=1e-4, rtol=1e-3)


def test_an_unused_input_contributes_nothing() -> None:
    network, data = random_network(cell="lstm", features=3, hidden=8, layers=1, classes=2, seed=0)
    with torch.no_grad():
        network.cell.get_parameter("rnn.weight_ih_l0")[:, 1] = 0
    explanation = explain(network, data, data.test.sequences[0])
    assert np.abs(explanation.saliency[:, 1]).max() < 1e-7
    assert np.abs(explanation.saliency[:, 0]).max() > 1e-4


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, words)])


def test_the_command_draws_and_writes(finished: Run, tmp_path: Path) -> None:
    path = tmp_path / "sequence.json"
    path.write_text(json.dumps(finished.data.test.sequences[3].tolist()))
    result = call(finished.folder, path, "--out", tmp_path / "why")
    assert result.exit_code == 0, result.output
    assert "largest contributions: lpc_cepstrum_" in result.output
    assert "all contributions: " in result.output
    names = {drawn.name for drawn in (tmp_path / "why").iterdir()}
    assert names == {"explained.json", "layer_0.png", "outputs.png", "saliency.png"}
    content = json.loads((tmp_path / "why" / "explained.json").read_text())
    assert set(content["layers"][0]) == {"in_gate", "forget_gate", "in_transform", "out_gate", "c", "h"}
    assert len(content["outputs"]["values"]) == content["steps"] == len(finished.data.test.sequences[3])
    by_name = call(finished.folder, "--test", 3, "--target", "5", "--out", tmp_path / "five")
    assert by_name.exit_code == 0, by_name.output
    assert json.loads((tmp_path / "five" / "explained.json").read_text())["saliency"]["of"] == "5"


def test_the_command_reports_errors(finished: Run, tmp_path: Path) -> None:
    for words, message in (
        ((finished.folder,), "give either SEQUENCE or --test"),
        ((finished.folder, "--test", 9999), "the test part has 370 sequences"),
        ((finished.folder, "--test", 0, "--target", "unknown"), "none of 1, 2, 3"),
        ((tmp_path, "--test", 0), "holds no finished run"),
    ):
        result = call(*words)
        assert result.exit_code != 0
        assert message in result.output


@pytest.mark.parametrize("quantiles", [(0.5,), (0.05, 0.5, 0.95)])
@pytest.mark.parametrize("has_truth", [True, False])
def test_forecasts_are_drawn_beside_the_actual_values(
    quantiles: tuple[float, ...], has_truth: bool, tmp_path: Path
) -> None:
    names = [f"${series}$ +{hours} h" for series in range(5) for hours in (1, 6, 24)]
    outputs = np.zeros((20, len(names) * len(quantiles)), np.float32)
    truth = np.full((20, len(names)), np.nan, np.float32)
    path = tmp_path / "outputs.png"
    draw_forecast(outputs, names=names, quantiles=quantiles, truth=truth if has_truth else None, path=path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_only_the_largest_of_many_outputs_and_inputs_are_drawn(tmp_path: Path) -> None:
    """83 rows without a name, or 784 pixels, are unreadable."""
    names = tuple(map(chr, range(1, 84)))  # control characters and spaces among them
    draw_outputs(np.full((9, 83), 1 / 83, np.float32), names=names, path=tmp_path / "outputs.png")
    pixels = tuple(f"x {row},{column}" for row in range(28) for column in range(28))
    draw_saliency(np.ones((9, 784), np.float32), names=pixels, of="$", path=tmp_path / "saliency.png")
    assert image.imread(tmp_path / "saliency.png").shape[0] < 2000
    assert (tmp_path / "outputs.png").exists()
