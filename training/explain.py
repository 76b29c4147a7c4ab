"""Looks inside a network while it reads one sequence: gates and states, outputs, and what they hang on.

The attributions are integrated gradients (Sundararajan, Taly, Yan 2017, equation 1), by Captum, from a
sequence in which every number is its mean and every token means nothing. They add up to the difference made.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from training.cells.cell import Inside
from training.data.dataset import DataSet, Input, Sequence
from training.errors import TrainingError
from training.model import Network

NEAR = 1e-5  # of the network's own forward pass, or the recomputed gates are not told
INTEGRAL_STEPS = 64

Floats = NDArray[np.float32]


class ExplainError(TrainingError):
    """The sequence is not one for this network, or what was recomputed is not what the network says."""


@dataclass(frozen=True)
class Explained:
    """What happens at each step of one sequence."""

    sequence: Sequence  # [time, columns]
    layers: tuple[dict[str, Floats], ...]  # by layer: gates and states by name, each [time, width]
    outputs: Floats  # [time, out]: probabilities, or what is foretold
    output_names: tuple[str, ...]
    target: int  # the output that is attributed, at the last step
    input_names: tuple[str, ...]
    saliency: Floats  # [time, inputs]: what each adds to that output's logit, or to what is foretold
    missing: float  # by how much the attributions fail to add up

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON takes it; a missing number is null."""
        return {
            "steps": len(self.sequence),
            "layers": [{name: _plain(values) for name, values in layer.items()} for layer in self.layers],
            "outputs": {"names": self.output_names, "values": _plain(self.outputs)},
            "saliency": {
                "of": self.output_names[self.target],
                "inputs": self.input_names,
                "values": _plain(self.saliency),
                "missing": self.missing,
            },
        }


def explain(network: Network, data: DataSet, sequence: Sequence, *, target: int | None = None) -> Explained:
    """Look inside `network` while it reads `sequence` [time, columns].

    `target`: the output to attribute; the likeliest class at the last step, or the first forecast's middle.
    Raises ExplainError.
    """
    network = network.cpu().eval()
    with torch.no_grad():
        x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
        start = network.initial_state(1)
        channels, level, _ = network.front(x, lengths, start[: len(network.front.states)])
        layers, hidden = _trace(network, channels[0])
        said, _ = network(x, lengths, start)
        recomputed = _answer(network, hidden[None], level)
        away = float((recomputed - said).abs().max() / said.abs().max().clamp_min(1))
        if not away <= NEAR:
            raise ExplainError(f"what was recomputed is {away:.2g} away from what the network says")
        outputs = said[0] if network.tail else said[0].softmax(-1)
    if target is None:
        target = network.tail.count // 2 if network.tail else int(outputs[-1].argmax())
    names = output_names(data)
    if not 0 <= target < len(names):
        raise ExplainError(f"output {target}: the network has {len(names)}, from 0")
    saliency, missing = _saliency(network, channels, level, target)
    return Explained(
        sequence=sequence,
        layers=tuple({name: values.numpy() for name, values in layer.items()} for layer in layers),
        outputs=outputs.numpy(),
        output_names=names,
        target=target,
        input_names=tuple(name for given in network.front.inputs for name in _names(given)),
        saliency=_by_input(network, saliency),
        missing=missing,
    )


def output_names(data: DataSet) -> tuple[str, ...]:
    """What each output stands for."""
    told = data.forecast
    if told is None:
        return data.labels
    return tuple(
        f"{one} {when} q{quantile:g}"
        for one in data.labels
        for when in told.names
        for quantile in told.quantiles
    )


def read_sequence(path: Path, inputs: tuple[Input, ...]) -> Sequence:
    """A file as `/predict` takes a sequence: rows, an object of named inputs, or either under "steps".

    Tokens may be ids or words of the vocabulary; null is a missing number. Raises ExplainError.
    """
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExplainError(f"{path}: {error}") from error
    if isinstance(told, dict) and "steps" in told:
        told = told["steps"]
    named = told if isinstance(told, dict) else {inputs[0].name: told}
    names = {given.name for given in inputs}
    if set(named) != names:
        raise ExplainError(f"{path}: expected the inputs {sorted(names)}, got {sorted(named)}")
    try:
        columns = [_columns(given, named[given.name]) for given in inputs]
        return np.hstack(columns).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ExplainError(f"{path}: {error}") from error


def _columns(given: Input, rows: list[Any]) -> NDArray[np.float64]:
    if given.kind == "token":
        numbers = {text: number for number, text in enumerate(given.vocabulary)} | {None: given.missing}
        ids = [row if isinstance(row, int) else numbers.get(row, given.unknown) for row in rows]
        for step, number in enumerate(ids):
            if not isinstance(number, int) or not 0 <= number < len(given.vocabulary):
                raise ValueError(
                    f"{given.name}, step {step}: {rows[step]!r} is no token of {len(given.vocabulary)}"
                )
        return np.array(ids, np.float64)[:, None]
    found = np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
    if found.ndim != 2 or found.shape[1] != given.columns or not len(found):
        raise ValueError(f"{given.name}: expected rows of {given.columns} numbers, got {found.shape}")
    if np.isnan(found).any() and not given.has_gaps:
        raise ValueError(f"{given.name}: null, where no number may be missing")
    return found


def _trace(network: Network, channels: Tensor) -> tuple[list[Inside], Tensor]:
    """[time, width] of the front → each layer's insides, and what the last one says."""
    layers = []
    cell = network.cell
    for number in range(cell.layers):
        state = tuple(channels.new_zeros(1, cell.state_width(name)) for name in cell.states)
        inside, channels = cell.trace(number, channels, state)
        layers.append(inside)
    return layers, channels


def _answer(network: Network, hidden: Tensor, level: Tensor) -> Tensor:
    y: Tensor = network.head(hidden)
    return network.tail(y, level) if network.tail else y


def _saliency(network: Network, channels: Tensor, level: Tensor, target: int) -> tuple[Floats, float]:
    """[time, channels], and by how much they fail to add up."""

    def last(batch: Tensor) -> Tensor:
        lengths = torch.full((len(batch),), batch.shape[1])
        state = network.initial_state(len(batch))[len(network.front.states) :]
        hidden, _ = network.cell(batch, lengths, state)
        return _answer(network, hidden[:, -1:], level[:, -1:].expand(len(batch), -1, -1))[:, 0]

    found, missing = IntegratedGradients(last).attribute(
        channels.detach(),
        torch.zeros_like(channels),
        target=target,
        n_steps=INTEGRAL_STEPS,
        internal_batch_size=INTEGRAL_STEPS,
        return_convergence_delta=True,
    )
    values: Floats = found[0].detach().numpy().astype(np.float32)
    return values, float(missing.abs().max())


def _names(given: Input) -> tuple[str, ...]:
    return given.features if given.kind != "token" else (given.name,)


def _by_input(network: Network, saliency: Floats) -> Floats:
    """[time, channels] → [time, inputs]: a token's embedding, and a number's gaps, count with it."""
    columns, at = [], 0
    for given in network.front.inputs:
        if given.kind == "token":
            width = network.front.table(given.name).shape[1]
            columns.append(saliency[:, at : at + width].sum(axis=1, keepdims=True))
        else:
            width = given.columns * (2 if given.has_gaps else 1)
            part = saliency[:, at : at + width].reshape(len(saliency), -1, given.columns)
            columns.append(part.sum(axis=1))
        at += width
    return np.hstack(columns)


def _plain(values: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(str(value)) for value in row] for row in values]
