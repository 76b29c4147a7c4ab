"""Proposals for what PyTorch's two exporters write today, with the defaults that people use."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.manifest import Manifest
from service.repository import propose

FEATURES, HIDDEN, CLASSES = 4, 8, 3
NAMES: dict[str, Any] = {"input_names": ["x", "h", "c"], "output_names": ["y", "hn", "cn"]}
SEQUENCE = {0: "batch", 1: "time"}
DYNAMIC = {"x": SEQUENCE, "y": SEQUENCE} | {name: {1: "batch"} for name in ("h", "c", "hn", "cn")}


@pytest.fixture(params=["dynamo", "torchscript"])
def dynamo(request: pytest.FixtureRequest) -> bool:
    if request.param == "dynamo":
        pytest.importorskip("onnxscript", reason="PyTorch's default exporter needs onnxscript")
    return bool(request.param == "dynamo")


class Tagger(nn.Module):
    def __init__(self, layers: int = 1, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN, layers, batch_first=True, **options)
        self.head = nn.Linear(HIDDEN * (2 if options.get("bidirectional") else 1), CLASSES)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.lstm(x, (h, c))
        return self.head(y), h, c


class Policy(nn.Module):
    """One step: observation and state → action, value, state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.actor = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        self.critic = nn.Linear(HIDDEN, 1)

    def forward(self, obs: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.cell(obs, h)
        return self.actor(h).argmax(dim=1), self.critic(h)[:, 0], h


def export(
    module: nn.Module, inputs: tuple[Tensor, ...], path: Path, *, dynamo: bool, **options: Any
) -> Manifest:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            options["verbose"] = False
        torch.onnx.export(module.eval(), inputs, str(path), dynamo=dynamo, **options)
    draft = propose(path)
    assert draft.manifest is not None, draft.open
    return draft.manifest


def tensors(layers: int = 1, batch: int = 2, time: int = 9) -> tuple[Tensor, ...]:
    h, c = torch.zeros(2, layers, batch, HIDDEN).unbind()  # one tensor twice would be one input
    return torch.zeros(batch, time, FEATURES), h.clone(), c.clone()


@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_with_dynamic_axes(layers: int, dynamo: bool, tmp_path: Path) -> None:
    if dynamo and layers > 1:
        pytest.skip("torch.export fixes the time axis of an LSTM of several layers")
    options = NAMES | {"dynamic_axes": DYNAMIC}
    found = export(Tagger(layers), tensors(layers), tmp_path / "x.onnx", dynamo=dynamo, **options)
    assert {state.input: state.output for state in found.states} == {"h": "hn", "c": "cn"}
    assert {state.shape for state in found.states} == {(layers, "batch", HIDDEN)}
    assert (found.axes.batch, found.axes.time, found.axes.time_size, found.causal) == (0, 1, None, True)
    assert (found.outputs[0].dims, found.outputs[0].steps) == ((CLASSES,), "all")


def test_an_lstm_without_dynamic_axes_is_fixed_to_its_example(dynamo: bool, tmp_path: Path) -> None:
    found = export(Tagger(), tensors(), tmp_path / "x.onnx", dynamo=dynamo)
    assert (found.axes.batch_size, found.axes.time_size) == (2, 9)
    assert len(found.states) == 2 and found.outputs[0].dims == (CLASSES,)


def test_a_bidirectional_lstm_is_not_causal(dynamo: bool, tmp_path: Path) -> None:
    options = NAMES | ({} if dynamo else {"dynamic_axes": DYNAMIC})
    tagger = Tagger(bidirectional=True)
    found = export(tagger, tensors(layers=2), tmp_path / "x.onnx", dynamo=dynamo, **options)
    assert not found.causal


def test_a_policy_of_one_step_answers_an_action_and_a_value(dynamo: bool, tmp_path: Path) -> None:
    rows = {0: "batch"}
    options: dict[str, Any] = {
        "input_names": ["obs", "h"],
        "output_names": ["action", "value", "h_next"],
        "dynamic_axes": dict.fromkeys(("obs", "h", "action", "value", "h_next"), rows),
    }
    inputs = (torch.zeros(2, FEATURES), torch.zeros(2, HIDDEN))
    found = export(Policy(), inputs, tmp_path / "x.onnx", dynamo=dynamo, **options)
    assert found.axes.time is None
    assert [(state.input, state.output) for state in found.states] == [("h", "h_next")]
    assert [(spec.name, spec.dtype, spec.dims) for spec in found.outputs] == [
        ("action", "int64", ()),
        ("value", "float32", ()),
    ]
