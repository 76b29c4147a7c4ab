"""What is shown of the inside is what is there: for every cell, input and task."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from tests.training.made import data_of
from tests.training.test_front import TASKS, network_for
from training import cells
from training.__main__ import main
from training.data.dataset import Input, Task
from training.explain import ExplainError, explain, read_sequence
from training.export import random_network
from training.export.example import steps_of
from training.run import Run


@pytest.mark.parametrize("name", cells.names())
def test_the_trace_of_every_cell_is_its_own_forward_pass(name: str) -> None:
    torch.manual_seed(1)
    cell = cells.build(name, features=4, hidden=6, layers=3).eval()
    x = torch.randn(1, 11, 4)
    whole, ends = cell(x, torch.tensor([11]), cell.initial_state(1))
    y = x[0]
    for number in range(3):
        start = tuple(part[number] for part in cell.initial_state(1))
        inside, y = cell.trace(number, y, start)
        for state, end in zip(cell.states, ends, strict=True):
            torch.testing.assert_close(inside[state][-1], end[number, 0], atol=1e-6, rtol=1e-5)
        for gate, values in inside.items():
            assert values.shape[0] == 11
            assert "gate" not in gate or ((values >= 0) & (values <= 1)).all()
    torch.testing.assert_close(y[None], whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_attributions_add_up_to_the_difference_that_the_input_makes(task: Task) -> None:
    data = data_of(task)
    network = network_for(data)
    found = explain(network, data, data.test.sequences[0])
    assert found.saliency.shape == (len(found.sequence), len(found.input_names))
    assert found.missing <= 1e-3 * max(1.0, float(np.abs(found.saliency).sum()))
    if data.forecast is None:
        np.testing.assert_allclose(found.outputs.sum(axis=1), 1, rtol=1e-5)
        assert found.target == found.outputs[-1].argmax()


def test_an_input_that_is_not_read_adds_nothing() -> None:
    network, data = random_network(cell="lstm", features=3, hidden=8, layers=1, classes=2, seed=0)
    with torch.no_grad():
        network.cell.get_parameter("rnn.weight_ih_l0")[:, 1] = 0
    found = explain(network, data, data.test.sequences[0])
    assert np.abs(found.saliency[:, 1]).max() < 1e-7
    assert np.abs(found.saliency[:, 0]).max() > 1e-4


def test_a_file_is_read_as_predict_takes_it(tmp_path: Path) -> None:
    data = data_of("forecast")
    network = network_for(data)
    due = data.test.sequences[0]
    path = tmp_path / "sequence.json"
    for told in (steps_of(network, due), {"steps": steps_of(network, due)}):
        path.write_text(json.dumps(told))
        np.testing.assert_array_equal(read_sequence(path, data.inputs), due)
    named = steps_of(network, due)
    assert isinstance(named, dict)
    words = data.inputs[1].vocabulary
    path.write_text(json.dumps({**named, "sky": [words[number] for number in named["sky"]]}))
    np.testing.assert_array_equal(read_sequence(path, data.inputs), due)


def test_a_file_may_have_tokens_that_nobody_saw_and_nulls(tmp_path: Path) -> None:
    path = tmp_path / "sequence.json"
    path.write_text('["a", "of tomorrow", null, 2]')
    kinds = Input("k", kind="token", vocabulary=("<other>", "<missing>", "a"), unknown=0, missing=1)
    assert read_sequence(path, (kinds,)).ravel().tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[1, 2", r"sequence\.json"),
        ('{"x": [[1, 2]]}', r"expected the inputs \['hour', 'sky', 'x'\], got \['x'\]"),
        ('{"x": [[1]], "sky": [0], "hour": [[1]]}', "x: expected rows of 2 numbers"),
        ('{"x": [[1, 2]], "sky": [9], "hour": [[1]]}', "sky, step 0: 9 is no token of 4"),
        ('{"x": [[1, 2]], "sky": ["hail"], "hour": [[1]]}', "sky, step 0: 'hail' is no token"),
        ('{"x": [[1, 2]], "sky": [0], "hour": [[null]]}', "hour: null, where no number may be missing"),
    ],
)
def test_a_file_that_does_not_fit_says_where(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "sequence.json"
    path.write_text(text)
    with pytest.raises(ExplainError, match=why):
        read_sequence(path, data_of("forecast").inputs)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, words)])


def test_the_command_draws_and_writes(finished: Run, tmp_path: Path) -> None:
    path = tmp_path / "sequence.json"
    path.write_text(json.dumps(finished.data.test.sequences[3].tolist()))
    result = call(finished.folder, path, "--out", tmp_path / "why")
    assert result.exit_code == 0, result.output
    assert "what added most: lpc_cepstrum_" in result.output
    names = {drawn.name for drawn in (tmp_path / "why").iterdir()}
    assert names == {"explained.json", "layer_0.png", "outputs.png", "saliency.png"}
    told = json.loads((tmp_path / "why" / "explained.json").read_text())
    assert set(told["layers"][0]) == {"in_gate", "forget_gate", "in_transform", "out_gate", "c", "h"}
    assert len(told["outputs"]["values"]) == told["steps"] == len(finished.data.test.sequences[3])
    by_name = call(finished.folder, "--test", 3, "--target", "5", "--out", tmp_path / "five")
    assert by_name.exit_code == 0, by_name.output
    assert json.loads((tmp_path / "five" / "explained.json").read_text())["saliency"]["of"] == "5"


def test_the_command_says_what_is_wrong(finished: Run, tmp_path: Path) -> None:
    for words, why in (
        ((finished.folder,), "give either SEQUENCE or --test"),
        ((finished.folder, "--test", 9999), "the test part has 370 sequences"),
        ((finished.folder, "--test", 0, "--target", "nobody"), "none of 1, 2, 3"),
        ((tmp_path, "--test", 0), "holds no finished run"),
    ):
        result = call(*words)
        assert result.exit_code != 0
        assert why in result.output
