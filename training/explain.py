"""Looks inside a network while it reads one sequence: gates and states, outputs, and what they hang on.

The attributions are integrated gradients (Sundararajan, Taly, Yan 2017, equation 1), by Captum, through the
whole network, from a baseline: the same sequence with each number at its mean of the training part, missing
where it is missing, and each token's embedding zero. They add up to what the network says of the one less
what it says of the other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from training.cells.cell import Inside
from training.data.dataset import DataSet, Input, Sequence
from training.errors import TrainingError
from training.model import Network

NEAR = 1e-5  # of the network's own forward pass, or the recomputed gates are not told
INTEGRAL_STEPS = 64
BATCH_STEPS = 20_000  # time steps that are run through the network together, so that a year fits into memory

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
    start: float  # what is said of the baseline; with all of the saliency, what is said of the sequence
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
                "start": self.start,
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
    saliency, start_said = _saliency(network, sequence, target)
    return Explained(
        sequence=sequence,
        layers=tuple({name: values.numpy() for name, values in layer.items()} for layer in layers),
        outputs=outputs.numpy(),
        output_names=names,
        target=target,
        input_names=tuple(name for given in network.front.inputs for name in _names(given)),
        saliency=saliency,
        start=start_said,
        missing=abs(float(saliency.sum(dtype=np.float64)) - (float(said[0, -1, target]) - start_said)),
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


def _saliency(network: Network, sequence: Sequence, target: int) -> tuple[Floats, float]:
    """[time, inputs]: what each adds at each step; and what is said of the baseline."""
    x = torch.from_numpy(sequence)[None]
    is_missing = x.isnan()
    places = network.front.places()
    pairs = [_ends(network, given, x[..., place], place) for given, place in places]

    def last(*parts: Tensor) -> Tensor:
        """What is said at the last step: of numbers [rows, time, columns], of tokens their embeddings.

        Each token of each row has a row of its own in the table, so that its embedding can be moved.
        """
        rows, steps = parts[0].shape[:2]
        columns, tables = [], {}
        for (given, place), part in zip(places, parts, strict=True):
            if given.kind == "token":
                tables[f"front.{network.front.table_key(given.name)}"] = part.flatten(0, 1)
                columns.append(torch.arange(rows * steps).reshape(rows, steps, 1).to(x.dtype))
            else:
                columns.append(part.masked_fill(is_missing[..., place], torch.nan))
        told = torch.cat(columns, dim=-1), torch.full((rows,), steps), network.initial_state(rows)
        said: Tensor = functional_call(network, tables, told)[0]
        return said[:, -1]

    given_parts, baseline = zip(*pairs, strict=True)
    found = IntegratedGradients(last).attribute(
        given_parts,
        baseline,
        target=target,
        n_steps=INTEGRAL_STEPS,
        internal_batch_size=max(1, min(INTEGRAL_STEPS, BATCH_STEPS // len(sequence))),
    )
    by_input = [
        part[0].sum(-1, keepdim=True) if given.kind == "token" else part[0]
        for (given, _), part in zip(places, found, strict=True)
    ]
    with torch.no_grad():
        start = float(last(*baseline)[0, target])
    values: Floats = torch.cat(by_input, dim=-1).detach().numpy().astype(np.float32)
    return values, start


def _ends(network: Network, given: Input, values: Tensor, place: slice) -> tuple[Tensor, Tensor]:
    """Where the integral of one input ends, and where it starts: what moves nothing is missing in both."""
    if given.kind == "token":
        embedded = network.front.table(given.name).detach()[values[..., 0].long()]
        return embedded, torch.zeros_like(embedded)
    mean = network.front.shift[place].expand_as(values)
    return torch.where(values.isnan(), mean, values), mean


def _names(given: Input) -> tuple[str, ...]:
    """Of each column of an input."""
    if given.kind == "video":
        height, width = given.frame
        return tuple(f"{given.name} {row},{column}" for row in range(height) for column in range(width))
    return given.features if given.kind != "token" else (given.name,)


def _plain(values: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(str(value)) for value in row] for row in values]
