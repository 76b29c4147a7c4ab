"""Explains a network on one sequence: gates, states, outputs, contributions of the inputs. Draws nothing.

The contributions are integrated gradients (Sundararajan, Taly, Yan 2017, equation 1), computed by Captum
through the whole network, from a baseline: the same sequence with each number at its mean in the training
part, missing where it is missing, and each token's embedding zero. They add up to the output for the sequence
minus the output for the baseline.
"""

from collections.abc import Callable
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

TOLERANCE = 1e-5  # between the traced outputs and those of the forward pass
INTEGRAL_STEPS = 64
BATCH_STEPS = 20_000  # time steps in one call of the network, so that a year of hours fits into memory

Floats = NDArray[np.float32]


class ExplainError(TrainingError):
    """The sequence or the target does not fit the network, or the trace differs from its forward pass."""


@dataclass(frozen=True)
class Explanation:
    """The inside of a network at each step of one sequence."""

    sequence: Sequence  # [time, columns]
    layers: tuple[dict[str, Floats], ...]  # by layer: gates and states by name, each [time, width]
    outputs: Floats  # [time, out]: probabilities, or the forecast
    output_names: tuple[str, ...]
    target: int  # the output that is attributed, at the last step
    input_names: tuple[str, ...]
    saliency: Floats  # [time, inputs]: contributions to that output's logit, or to the forecast
    start: float  # the target's value for the baseline
    missing: float  # the error of the sum: start + saliency should be the target's value for the sequence

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; a missing number is null."""
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


def explain(
    network: Network,
    data: DataSet,
    sequence: Sequence,
    *,
    target: int | None = None,
    batch_steps: int = BATCH_STEPS,
) -> Explanation:
    """Explain `network` on `sequence` [time, columns].

    `target`: the output to attribute; by default the most likely class or label at the last step, or the
    middle quantile of the first forecast. `batch_steps`: time steps in one call of the network.
    Raises ExplainError.
    """
    network = network.cpu().eval()
    layers, raw = _traced(network, sequence)
    outputs = raw if network.quantiles else network.probabilities(raw)
    if target is None:
        target = network.quantiles.middle if network.quantiles else int(outputs[-1].argmax())
    names = output_names(data)
    if not 0 <= target < len(names):
        raise ExplainError(f"output {target}: the network has {len(names)}, from 0")
    saliency, start = _saliency(network, sequence, target, batch_steps)
    total = float(saliency.sum(dtype=np.float64))
    return Explanation(
        sequence=sequence,
        layers=tuple({name: values.numpy() for name, values in layer.items()} for layer in layers),
        outputs=outputs.numpy(),
        output_names=names,
        target=target,
        input_names=tuple(name for input_ in network.input_layer.inputs for name in _column_names(input_)),
        saliency=saliency,
        start=start,
        missing=abs(total - (float(raw[-1, target]) - start)),
    )


def output_names(data: DataSet) -> tuple[str, ...]:
    """The name of each output."""
    forecast = data.forecast
    if data.quantiles:
        return tuple(f"{label} q{quantile:g}" for label in data.labels for quantile in data.quantiles)
    if forecast is None:
        return data.labels
    return tuple(
        f"{series} {horizon} q{quantile:g}"
        for series in data.labels
        for horizon in forecast.names
        for quantile in forecast.quantiles
    )


@torch.no_grad()
def _traced(network: Network, sequence: Sequence) -> tuple[list[Inside], Tensor]:
    """Gates and states of each layer, and the network's output [time, out]. Raises ExplainError."""
    x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
    start = network.initial_state(1)
    encoded = network.input_layer(x, lengths, start[: len(network.input_layer.states)])
    layers, hidden = network.cell.trace_layers(encoded.channels[0])
    outputs, _ = network(x, lengths, start)
    pooled, _ = network.pool(hidden[None], lengths, network.pool_state(start))
    traced = network.head(network.decoder(pooled, encoded.ahead))
    traced = network.quantiles(traced, encoded.level) if network.quantiles else traced
    difference = float((traced - outputs).abs().max() / outputs.abs().max().clamp_min(1))
    if not difference <= TOLERANCE:
        raise ExplainError(f"the traced outputs differ from the network's by {difference:.2g}")
    return layers, outputs[0]


def _saliency(network: Network, sequence: Sequence, target: int, batch_steps: int) -> tuple[Floats, float]:
    """[time, inputs]: the contributions at each step; and the target's value for the baseline."""
    x = torch.from_numpy(sequence)[None]
    slices = network.input_layer.slices()
    ends = [_endpoints(network, input_, x[..., columns], columns) for input_, columns in slices]
    parts, baseline = zip(*ends, strict=True)
    last = _last_output(network, x.isnan())
    attributions = IntegratedGradients(last).attribute(
        parts,
        baseline,
        target=target,
        n_steps=INTEGRAL_STEPS,
        internal_batch_size=max(1, min(INTEGRAL_STEPS, batch_steps // len(sequence))),
    )
    by_input = [
        part[0].sum(-1, keepdim=True) if input_.kind == "token" else part[0]
        for (input_, _), part in zip(slices, attributions, strict=True)
    ]
    with torch.no_grad():
        start = float(last(*baseline)[0, target])
    values: Floats = torch.cat(by_input, dim=-1).detach().numpy().astype(np.float32)
    return values, start


def _last_output(network: Network, is_missing: Tensor) -> Callable[..., Tensor]:
    """The network as a function of its inputs: numbers [rows, time, columns], of tokens the embeddings.

    Each token of each row gets a row of its own in the embedding table, so that its embedding can be varied.
    """
    slices = network.input_layer.slices()

    def last(*parts: Tensor) -> Tensor:
        rows, steps = parts[0].shape[:2]
        columns, tables = [], {}
        for (input_, place), part in zip(slices, parts, strict=True):
            if input_.kind == "token":
                tables[f"input_layer.{network.input_layer.table_key(input_.name)}"] = part.flatten(0, 1)
                columns.append(torch.arange(rows * steps).reshape(rows, steps, 1).float())
            else:
                columns.append(part.masked_fill(is_missing[..., place], torch.nan))
        arguments = torch.cat(columns, dim=-1), torch.full((rows,), steps), network.initial_state(rows)
        y: Tensor = functional_call(network, tables, arguments, tie_weights=False)[0]
        return y[:, -1]

    return last


def _endpoints(network: Network, input_: Input, values: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """The end and the start of the integral of one input; a missing number is the mean in both."""
    if input_.kind == "token":
        embedded = network.input_layer.table(input_.name).detach()[values[..., 0].long()]
        return embedded, torch.zeros_like(embedded)
    mean = network.input_layer.shift[columns].expand_as(values)
    return torch.where(values.isnan(), mean, values), mean


def _column_names(input_: Input) -> tuple[str, ...]:
    if input_.kind == "video":
        height, width = input_.frame
        return tuple(f"{input_.name} {row},{column}" for row in range(height) for column in range(width))
    if input_.kind == "audio":
        return tuple(f"{input_.name} {sample}" for sample in range(input_.samples))
    return input_.features if input_.kind != "token" else (input_.name,)


def _plain(values: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(str(value)) for value in row] for row in values]
